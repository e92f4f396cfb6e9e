"""What a command keeps, and how it ends whose output nobody reads."""

import subprocess
import sys

import pytest

COMMAND = """
import socket
import rich
from harma_jax import cli


def to_a_socket(text):
  one, other = socket.socketpair()
  other.close()
  one.sendall(text.encode())


cli.run(lambda _: {write}('a line'))
"""


def ends(environment, write, *, is_read):
  """The exit code and what standard error says."""
  words = [sys.executable, '-c', COMMAND.format(write=write)]
  pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
  with subprocess.Popen(words, env=environment, text=True, **pipes) as program:
    if not is_read:
      program.stdout.close()
    said = program.stderr.read()
  return program.returncode, said


@pytest.mark.parametrize('write', ['print', 'rich.print'])
def test_a_command_whose_output_is_not_read_ends_without_a_word(environment, write):
  assert ends(environment, write, is_read=False) == (141, '')


def test_a_socket_that_closes_is_another_thing(environment):
  code, said = ends(environment, 'to_a_socket', is_read=True)
  assert code == 1
  assert 'BrokenPipeError' in said


@pytest.mark.parametrize('compiles', [True, False])
def test_a_command_that_compiles_has_a_folder_for_it(environment, tmp_path, compiles):
  code = (
    'from harma_jax import cli\n'
    'def main(_):\n'
    '  import jax\n'
    '  print(jax.config.jax_compilation_cache_dir)\n'
    f'cli.run(main, compiles={compiles})'
  )
  variables = environment | {'HOME': str(tmp_path)}
  variables.pop('JAX_COMPILATION_CACHE_DIR', None)
  printed = subprocess.check_output(
    [sys.executable, '-c', code], env=variables, text=True
  )
  kept = f'{tmp_path}/.cache/harma_jax/compiled' if compiles else None
  assert printed == f'{kept}\n'


def test_the_collector_leaves_jax_alone_and_goes_on(environment):
  code = (
    'import gc, sys\n'
    'from harma_jax import cli\n'
    'def main(_):\n'
    '  print("jax" in sys.modules, gc.get_freeze_count() > 50_000, gc.isenabled())\n'
    'cli.run(main, compiles=True)'
  )
  printed = subprocess.check_output(
    [sys.executable, '-c', code], env=environment, text=True
  )
  assert printed == 'True True True\n'
