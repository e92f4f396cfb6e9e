"""The fields that JobSet and a TPU slice of GKE need, and how a host's program ends."""

import pathlib
import signal
import subprocess
import time

import pytest

yaml = pytest.importorskip('yaml')

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope='module')
def jobset():
  return yaml.safe_load((REPOSITORY / 'launch/gke_jobset.yaml').read_text())


@pytest.fixture(scope='module')
def job(jobset):
  (replicated,) = jobset['spec']['replicatedJobs']
  return replicated['template']['spec']


@pytest.fixture(scope='module')
def container(job):
  (container,) = job['template']['spec']['containers']
  return container


def test_it_is_a_jobset_that_restarts_all_hosts_together(jobset, job):
  assert jobset['apiVersion'] == 'jobset.x-k8s.io/v1alpha2'
  assert jobset['kind'] == 'JobSet'
  assert jobset['spec']['failurePolicy']['maxRestarts'] > 0
  assert job['backoffLimit'] == 0
  assert job['template']['spec']['restartPolicy'] == 'Never'


def test_there_is_one_process_for_each_host_of_the_slice(job, container):
  rows, columns = map(
    int,
    job['template']['spec']['nodeSelector']['cloud.google.com/gke-tpu-topology'].split(
      'x'
    ),
  )
  chips = container['resources']['limits']['google.com/tpu']
  assert job['parallelism'] == job['completions'] == rows * columns // chips


def test_every_volume_that_is_mounted_is_there(job, container):
  volumes = {volume['name'] for volume in job['template']['spec']['volumes']}
  assert {mount['name'] for mount in container['volumeMounts']} == volumes


@pytest.fixture
def host(container, tmp_path):
  """`host(program)`: the container's command, with `program` (bash) for python."""
  processes = []

  def start(program):
    (tmp_path / 'python').write_text(f'#!/usr/bin/env bash\n{program}\n')
    (tmp_path / 'python').chmod(0o755)
    environ = {'PATH': f'{tmp_path}:/usr/bin:/bin', 'RUN': str(tmp_path)}
    processes.append(subprocess.Popen(container['command'], env=environ, cwd=tmp_path))
    return processes[-1]

  yield start
  for process in processes:
    process.kill()
    process.wait()


@pytest.mark.parametrize(
  ('program', 'code'), [('touch "$RUN/results.json"', 0), ('exit 0', 1), ('exit 3', 3)]
)
def test_a_host_succeeds_only_when_the_run_is_finished(host, program, code):
  assert host(program).wait(10) == code


def test_a_host_that_is_preempted_lets_the_program_save_and_is_not_done(host, tmp_path):
  program = 'trap "touch $RUN/saved; exit 0" TERM; touch "$RUN/ready"; sleep 20 & wait'
  process = host(program)
  while not (tmp_path / 'ready').exists():
    assert process.poll() is None
    time.sleep(0.01)
  process.send_signal(signal.SIGTERM)
  assert process.wait(10) == 1
  assert (tmp_path / 'saved').exists()
