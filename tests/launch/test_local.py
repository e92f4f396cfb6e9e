"""Processes that start, fail and end together, with a small program in their place."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
# Does what --does says; --do_of_<i> is for process i alone.
PROGRAM = """
import os, signal, sys, time
given = dict(word.lstrip('-').split('=', 1) for word in sys.argv[1:])
does = given.get('do_of_' + given['process_id'], given.get('does', ''))
print(given['num_processes'], given['process_id'], given['coordinator'], flush=True)
print('to error', os.environ.get('CUDA_VISIBLE_DEVICES', '-'), file=sys.stderr)
if does == 'stop':
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if does == 'refuse':
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
open('ready_' + given['process_id'], 'w').close()
if does.startswith('exit'):
  while len([name for name in os.listdir() if name.startswith('ready')]) < 2:
    time.sleep(0.01)
  sys.exit(int(does[4:]))
if does == 'die':
  os.kill(os.getpid(), signal.SIGKILL)
if does:
  open('pid_' + given['process_id'], 'w').write(str(os.getpid()))
  time.sleep(60)
"""


@pytest.fixture
def launch(tmp_path):
  """`launch(*options, words=())`: the launcher, running the program in `tmp_path`."""
  (tmp_path / 'program.py').write_text(PROGRAM)
  launchers = []

  def make(*options, words=(), environ=None):
    file = REPOSITORY / 'launch/local.py'
    command = [sys.executable, file, '--module=program', *options, '--', *words]
    pipe = subprocess.PIPE
    launcher = subprocess.Popen(
      list(map(str, command)),
      cwd=tmp_path,
      env=os.environ | (environ or {}),
      stdout=pipe,
      stderr=pipe,
      text=True,
    )
    launchers.append(launcher)
    return launcher

  yield make
  for launcher in launchers:
    launcher.kill()
    launcher.communicate()


def wait_for_files(folder, *, count):
  end = time.monotonic() + 20
  while len(list(folder.glob('ready_*'))) < count:
    assert time.monotonic() < end, 'waited too long'
    time.sleep(0.02)


def runs(pid):
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  return True


def test_each_process_is_told_its_number_and_its_lines_have_it(launch):
  stdout, stderr = launch('--processes=3').communicate(timeout=20)
  lines = sorted(line.split() for line in stdout.splitlines())
  assert [line[:3] for line in lines] == [[f'[{i}]', '3', str(i)] for i in range(3)]
  (coordinator,) = {line[3] for line in lines}
  assert coordinator.startswith('127.0.0.1:')
  assert sorted(stderr.splitlines()) == [f'[{i}] to error -' for i in range(3)]


def test_each_process_gets_its_own_gpu_of_those_that_are_visible(launch):
  environ = {'CUDA_VISIBLE_DEVICES': '4,6'}
  launcher = launch('--processes=2', '--gpu', environ=environ)
  _, stderr = launcher.communicate(timeout=20)
  assert sorted(stderr.splitlines()) == ['[0] to error 4', '[1] to error 6']


@pytest.mark.parametrize(('do', 'code'), [('exit3', 3), ('die', 137)])
def test_the_first_that_fails_gives_the_exit_code_and_ends_the_others(
  launch, tmp_path, do, code
):
  words = ('--does=refuse', f'--do_of_1={do}')
  launcher = launch('--processes=2', '--grace=0.5', words=words)
  launcher.communicate(timeout=20)
  assert launcher.returncode == code
  assert not any(runs(int(path.read_text())) for path in tmp_path.glob('pid_*'))


def test_one_that_ends_well_does_not_end_the_others(launch, tmp_path):
  launcher = launch('--processes=2', words=('--does=stop', '--do_of_0=exit0'))
  wait_for_files(tmp_path, count=2)
  time.sleep(0.5)
  assert launcher.poll() is None
  launcher.send_signal(signal.SIGTERM)
  launcher.communicate(timeout=20)
  assert launcher.returncode == 0


def test_a_signal_is_passed_on_to_all(launch, tmp_path):
  launcher = launch('--processes=2', words=('--does=stop',))
  wait_for_files(tmp_path, count=2)
  launcher.send_signal(signal.SIGTERM)
  launcher.communicate(timeout=20)
  assert launcher.returncode == 0
