"""The program `harma-jax`: every command is there, says what it does, and starts."""

import importlib
import re
import shlex
import subprocess
import sys

import pytest

from harma_jax import __main__ as program
from harma_jax import __version__
from harma_jax.building.config_file import shipped
from harma_jax.cli.help import help_of

WIDTH = 80


@pytest.fixture
def start(monkeypatch):
  """`start(*words)`: what `main` returns for a command line."""

  def run(*words):
    monkeypatch.setattr(sys, 'argv', ['harma-jax', *words])
    return program.main()

  return run


def module_of(command):
  name, _ = program.COMMANDS[command]
  module = importlib.import_module(name)
  is_package = hasattr(module, '__path__')
  return importlib.import_module(f'{name}.__main__') if is_package else module


def examples_of(text):
  """The words of each command line below `Examples:`."""
  _, _, rest = text.partition('\nExamples:\n')
  lines, _, _ = rest.partition('\n\n')
  return [shlex.split(line) for line in lines.replace('\\\n', ' ').splitlines()]


def flags_of(text):
  """The names of the flags that a help lists."""
  _, _, rest = text.partition('\nFlags:\n')
  return set(re.findall(r'^  --(?:\[no\])?(\w+)', rest, re.MULTILINE))


@pytest.mark.parametrize('word', ['--help', '-h'])
def test_help_lists_the_commands_with_a_line_each(start, capsys, word):
  assert start(word) == 0
  lines = capsys.readouterr().out.splitlines()
  assert max(map(len, lines)) <= WIDTH
  for command, (_, what) in program.COMMANDS.items():
    assert any(line.split(maxsplit=1) == [command, what] for line in lines)


def test_help_imports_no_library():
  code = (
    'import sys; from harma_jax.__main__ import main; sys.argv[1:] = ["--help"]; '
    'main(); print(sorted({"absl", "jax", "ml_collections", "numpy"} & {*sys.modules}))'
  )
  ended = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert ended.stdout.splitlines()[-1] == '[]'


def test_the_version_is_told(start, capsys):
  assert start('--version') == 0
  assert capsys.readouterr().out == f'harma_jax {__version__}\n'


@pytest.mark.parametrize(
  ('words', 'found'),
  [
    ([], 'found none.'),
    (['trian'], 'found trian. Did you mean train?'),
    (['--config=rsitmd.py'], 'found --config=rsitmd.py.'),
  ],
)
def test_an_unknown_command_is_named_with_those_that_are(start, capsys, words, found):
  assert start(*words) == 2
  stdout, stderr = capsys.readouterr()
  (line,) = stderr.splitlines()
  assert stdout == ''
  assert line.startswith('error: Expected a command, one of train, evaluate, ')
  assert found in line


def test_a_command_is_started_as_python_starts_its_module(
  start, capsys, tmp_path, monkeypatch
):
  (tmp_path / 'a_command.py').write_text(
    'import sys\nprint(__name__, sys.argv)\nassert sys.modules["__main__"].__spec__\n'
    'sys.exit(3)\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setitem(program.COMMANDS, 'do', ('a_command', 'Does.'))
  with pytest.raises(SystemExit) as end:
    start('do', '--this', 'that')
  assert end.value.code == 3
  words = [f'{tmp_path}/a_command.py', '--this', 'that']
  assert capsys.readouterr().out == f'__main__ {words}\n'


def test_python_runs_the_package_as_the_program(environment, small_data):
  words = ['data', 'check', f'--source={small_data}', '--strict']
  command = [sys.executable, '-m', 'harma_jax', *words]
  ended = subprocess.run(command, env=environment, capture_output=True, text=True)
  assert ended.returncode == 0, ended.stderr
  assert 'errors: 0, warnings: 0' in ended.stdout


@pytest.mark.parametrize('command', program.COMMANDS)
def test_a_command_says_what_it_does_with_examples_and_its_flags(command):
  text = help_of(module_of(command), width=WIDTH)
  first, *lines = text.splitlines()
  assert first == program.COMMANDS[command][1]
  where = str(shipped('common.py'))
  assert all(len(line) <= WIDTH or where in line for line in lines)
  examples = examples_of(text)
  assert len(examples) >= 2
  assert {tuple(example[:2]) for example in examples} == {('harma-jax', command)}
  used = re.findall(r'--(?:no)?(\w+)', ' '.join(map(shlex.join, examples)))
  assert {*used} <= flags_of(text)


def test_a_command_shows_no_flags_of_libraries():
  text = help_of(module_of('search'), width=WIDTH)
  of_query = {'index', 'image', 'top', 'html', 'geojson', 'approximate'}
  of_query |= {'box', 'at', 'minus', 'queries', 'overlap'}
  of_query |= {'geoparquet', 'csv', 'bbox', 'within', 'made_by'}
  of_index = {'workdir', 'images', 'out', 'tile', 'stride', 'share', 'batch_size'}
  of_index |= {'bands', 'stretch', 'min_valid', 'storage', 'verify', 'watch'}
  of_page, of_all = {'host', 'port'}, {'json', 'quiet'}
  assert flags_of(text) == of_query | of_index | of_page | of_all
