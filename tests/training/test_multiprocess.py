"""Several processes on this machine: the same run, one end."""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TOY = '--config=benchmarks/toy.py'
STEPS = 60
RUN = ('--config.train.epochs=20', '--config.evaluation.every_epochs=10')
LOST_WITHIN = 10  # seconds


@pytest.fixture
def start(environment, small_data):
  """`start(count, *words, different=())`: the processes of a run of the toy.

  Process i gets `words`, and `different[i]` where there is one.
  """
  programs = []

  def make(count, *words, different=()):
    with socket.socket() as listener:
      listener.bind(('127.0.0.1', 0))
      coordinator = f'127.0.0.1:{listener.getsockname()[1]}'
    for i in range(count):
      own = (
        f'--coordinator={coordinator}',
        f'--num_processes={count}',
        f'--process_id={i}',
        *different[i : i + 1],
      )
      programs.append(_start(*words, *own))
    return programs[-count:]

  def _start(*words):
    data = f'--config.data.root={small_data}'
    return subprocess.Popen(
      [sys.executable, '-m', 'harma_jax.main', TOY, data, *words],
      cwd=REPOSITORY,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  yield make
  for program in programs:
    program.kill()
    program.communicate()


def errors_of(programs, *, code):
  """Standard error of each of the programs, which end with `code`."""
  errors = [program.communicate(timeout=170)[1] for program in programs]
  assert [program.returncode for program in programs] == [code] * len(programs), errors
  return errors


def rows_of(workdir):
  path = workdir / 'metrics.jsonl'
  lines = path.read_text().split('\n')[:-1] if path.exists() else []
  return [json.loads(line) for line in lines]


def losses_of(workdir):
  return [row['loss'] for row in rows_of(workdir) if row['kind'] == 'train']


def saved_steps(workdir):
  return sorted(int(path.name) for path in (workdir / 'checkpoints').glob('[0-9]*'))


def wait_for_rows(workdir, *, count, programs):
  end = time.monotonic() + 120
  while len(rows_of(workdir)) < count:
    assert all(program.poll() is None for program in programs)
    assert time.monotonic() < end, 'waited too long'
    time.sleep(0.05)


def test_processes_with_other_configs_all_stop_and_name_both_values(start, tmp_path):
  rates = [f'--config.optimizer.learning_rate={rate}' for rate in (0.25, 0.5)]
  programs = start(2, f'--workdir={tmp_path}/run', different=rates)
  for error in errors_of(programs, code=2):
    (line,) = [line for line in error.splitlines() if line.startswith('error: ')]
    assert 'config.optimizer.learning_rate: 0.25 in process 0, 0.5 in 1' in line
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_a_process_that_nobody_meets_says_whom_it_expected_and_fails(start, tmp_path):
  waiting, other = start(2, f'--workdir={tmp_path}/run', '--start_timeout=3')
  other.kill()
  _, error = waiting.communicate(timeout=60)
  assert waiting.returncode not in (0, None)
  assert 'expecting 2 processes (told by flags) within 3 s' in error


@pytest.fixture(scope='module')
def losses_alone(environment, small_data, tmp_path_factory):
  """Of a run of one process."""
  workdir = tmp_path_factory.mktemp('alone')
  words = *RUN, f'--config.data.root={small_data}', f'--workdir={workdir}'
  command = [sys.executable, '-m', 'harma_jax.main', TOY, *words]
  subprocess.run(command, cwd=REPOSITORY, env=environment, check=True)
  return losses_of(workdir)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('count', 'told', 'then', 'cache'), [(2, 1, 2, 'device'), (4, 2, 1, 'host')]
)
def test_processes_of_which_one_is_told_to_stop_save_the_same_step_and_go_on(
  start, tmp_path, losses_alone, count, told, then, cache
):
  """SIGTERM comes to process `told` of `count`; `then` resume what one runs alone."""
  assert len(losses_alone) == STEPS
  words = *RUN, f'--config.data.cache={cache}', f'--workdir={tmp_path}'
  programs = start(count, *words)
  wait_for_rows(tmp_path, count=15, programs=programs)
  programs[told].send_signal(signal.SIGTERM)
  for error in errors_of(programs, code=0):
    assert error.splitlines()[-1] == 'Interrupted. The same command resumes.'
  last = rows_of(tmp_path)[-1]['step']
  assert saved_steps(tmp_path)[-1] == last < STEPS

  for error in errors_of(start(then, *words), code=0):
    assert f'resuming after step {last} of {STEPS}' in error
  np.testing.assert_allclose(losses_of(tmp_path), losses_alone, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('lost', [0, 1])
def test_a_lost_process_ends_the_other(start, tmp_path, lost):
  workdir = tmp_path / 'run'
  words = ('--config.train.epochs=200', f'--loss_timeout={LOST_WITHIN}')
  programs = start(2, *words, f'--workdir={workdir}')
  wait_for_rows(workdir, count=5, programs=programs)
  programs[lost].kill()
  programs[1 - lost].communicate(timeout=60)
  assert programs[1 - lost].returncode != 0
