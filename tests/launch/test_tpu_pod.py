"""What is asked of gcloud, in which order."""

import re
import shlex

import pytest

POD = ('--name=harma', '--zone=us-west4-a')
FLAGS = ('--', '--config=configs/rsitmd.py', "--workdir=/mnt/a run's")


def actions(calls):
  """`create`, `scp`, ... of the calls of gcloud."""
  return [call[4] for call in calls]


@pytest.fixture
def pod(shell, tmp_path):
  def run(*words, **environ):
    return shell('tpu_pod.sh', *POD, f'--logs={tmp_path}/logs', *words, **environ)

  return run


def test_a_new_pod_is_made_filled_started_and_its_logs_collected(pod, tmp_path):
  ended, calls = pod('--spot', '--type=v6e-16', '--version=v2-alpha-tpuv6e', *FLAGS)
  assert ended.returncode == 0, ended.stderr
  assert actions(calls) == ['describe', 'create', 'scp', 'ssh', 'ssh', 'ssh', 'ssh']
  create = calls[1]
  assert create[5:] == [
    'harma',
    '--zone=us-west4-a',
    '--accelerator-type=v6e-16',
    '--version=v2-alpha-tpuv6e',
    '--spot',
  ]
  assert all('--worker=all' in call for call in calls[2:])
  assert 'harma_jax.main' in calls[5][-1]
  assert calls[6][-1] == f'--output-directory={tmp_path}/logs'


def test_the_flags_reach_the_hosts_as_they_were_given(pod):
  _, calls = pod(*FLAGS)
  command = calls[5][-1].removeprefix('--command=')
  (line,) = [line for line in command.splitlines() if 'harma_jax.main' in line]
  words = shlex.split(line)
  assert words[1:6] == ['.venv/bin/python', '-m', 'harma_jax.main', *FLAGS[1:]]


@pytest.mark.parametrize(
  ('state', 'expected'),
  [('READY', ['describe', 'scp']), ('PREEMPTED', ['describe', 'delete', 'create'])],
)
def test_a_pod_that_is_there_is_taken_and_a_lost_one_replaced(pod, state, expected):
  ended, calls = pod(*FLAGS, FAKE_STATE=state)
  assert ended.returncode == 0, ended.stderr
  assert actions(calls)[: len(expected)] == expected
  assert ('create' in actions(calls)) == (state == 'PREEMPTED')


def test_a_pod_that_is_being_made_is_left_alone(pod):
  ended, calls = pod(*FLAGS, FAKE_STATE='CREATING')
  assert ended.returncode == 2
  assert 'found CREATING' in ended.stderr
  assert actions(calls) == ['describe']


def test_a_failed_program_gives_its_exit_code_after_its_logs(pod):
  ended, calls = pod(*FLAGS, FAKE_CODE='7')
  assert ended.returncode == 7
  assert 'run.log' in ' '.join(calls[-1])


def test_a_dry_run_does_nothing_and_prints_what_would_be_done(pod, shell):
  _, calls = pod(*FLAGS)
  dry, none = pod('--dry_run', *FLAGS)
  assert dry.returncode == 0
  assert none == []
  printed = [line for line in dry.stdout.splitlines() if line.startswith('gcloud')]
  _, pasted = shell('/dev/stdin', input='\n'.join(printed))
  archive = r'\S+/code.tgz'
  assert re.sub(archive, '', str(pasted)) == re.sub(archive, '', str(calls))


@pytest.mark.parametrize(
  ('action', 'word'), [('stop', 'kill -TERM'), ('logs', 'run.log'), ('delete', '')]
)
def test_an_action_is_one_call(pod, action, word):
  ended, (call,) = pod(action)
  assert ended.returncode == 0, ended.stderr
  assert word in ' '.join(call)


def test_a_mistake_is_one_line_and_exit_code_2(shell):
  for words in (['--zone=a'], ['--nome=b'], [*POD]):
    ended, calls = shell('tpu_pod.sh', *words)
    assert ended.returncode == 2
    assert ended.stderr.startswith('error: Expected')
    assert calls == []
