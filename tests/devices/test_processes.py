"""Who is one of several processes, and what they say when they differ."""

import re

import numpy as np
import pytest

from harma_jax.devices.processes import (
  Start,
  agree,
  code_version,
  decide,
  difference,
  maximum,
  of_first,
)
from harma_jax.errors import UserError

SLURM = {
  'SLURM_JOB_ID': '17',
  'SLURM_NTASKS': '8',
  'SLURM_STEP_NUM_TASKS': '8',
  'SLURM_STEP_NODELIST': 'node[1-2]',
  'SLURM_PROCID': '3',
  'SLURM_LOCALID': '3',
}
OPEN_MPI = {
  'OMPI_COMM_WORLD_SIZE': '4',
  'OMPI_COMM_WORLD_RANK': '1',
  'OMPI_MCA_orte_hnp_uri': '1531576320.0;tcp://10.96.0.1:34911',
}
TPU = {'TPU_ML_PLATFORM': 'JAX'}
GKE = {**TPU, 'TPU_WORKER_HOSTNAMES': 'a,b', 'TPU_WORKER_ID': '1'}


@pytest.mark.parametrize(
  ('environ', 'told_by', 'count'),
  [
    (SLURM, 'Slurm', 8),
    (OPEN_MPI, 'Open MPI', 4),
    (SLURM | OPEN_MPI, 'Open MPI', 4),
    (GKE, 'TPU host names', 2),
    (GKE | {'MEGASCALE_NUM_SLICES': '3'}, 'TPU host names', 6),
    (TPU, 'TPU metadata', None),
    (TPU | {'JAX_PLATFORMS': 'tpu,cpu'}, 'TPU metadata', None),
  ],
)
def test_the_environment_tells_of_others(environ, told_by, count):
  start = decide({}, environ)
  assert (start.told_by, start.num_processes) == (told_by, count)
  assert start.detection in ('slurm', 'ompi', 'gketpu', 'gcetpu')


@pytest.mark.parametrize(
  'environ',
  [
    {},
    {'SLURM_JOB_ID': '17', 'SLURM_NTASKS': '1'},
    SLURM | {'SLURM_STEP_NUM_TASKS': '1'},
    OPEN_MPI | {'OMPI_COMM_WORLD_SIZE': '1'},
    GKE | {'TPU_WORKER_HOSTNAMES': 'localhost'},
    GKE | {'JAX_PLATFORMS': 'cpu'},
    TPU | {'JAX_PLATFORMS': 'cpu'},
    TPU | {'TPU_SKIP_MDS_QUERY': '1'},
    {'KUBERNETES_SERVICE_HOST': '10.0.0.1', 'JOB_COMPLETION_INDEX': '2'},
  ],
)
def test_a_lone_process_starts_alone(environ):
  assert decide({'coordinator': None, 'num_processes': None}, environ) is None


def test_flags_come_before_the_environment():
  flags = {'coordinator': '10.0.0.1:8476', 'num_processes': 2, 'process_id': 0}
  assert decide(flags, SLURM) == Start(told_by='flags', detection='deactivate', **flags)
  assert decide({'num_processes': 1}, SLURM) is None


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'coordinator': None}, 'found no --coordinator'),
    ({'num_processes': 1, 'process_id': None}, 'found no --process_id'),
    ({'coordinator': None, 'process_id': None}, 'no --coordinator, --process_id'),
    ({'coordinator': '10.0.0.1'}, "HOST:PORT .* found '10.0.0.1'"),
    ({'coordinator': ':8476'}, "found ':8476'"),
    ({'process_id': 2}, '0 to 1 for --num_processes=2; found 2'),
    ({'process_id': -1}, 'found -1'),
  ],
)
def test_flags_that_do_not_fit_are_a_mistake(changes, words):
  flags = {'coordinator': '10.0.0.1:8476', 'num_processes': 2, 'process_id': 0}
  with pytest.raises(UserError, match=words):
    decide(flags | changes, {})


def test_a_slurm_job_without_srun_is_a_mistake():
  batch = {name: SLURM[name] for name in ('SLURM_JOB_ID', 'SLURM_NTASKS')}
  with pytest.raises(UserError, match=r'job of 8 tasks.*--num_processes=1'):
    decide({}, batch)


def test_an_open_mpi_that_does_not_name_the_first_is_a_mistake():
  environ = {'OMPI_COMM_WORLD_SIZE': '4', 'OMPI_COMM_WORLD_RANK': '1'}
  with pytest.raises(UserError, match=r'SIZE=4.*--coordinator=HOST:PORT'):
    decide({}, environ)


def test_the_values_that_differ_are_named_with_their_processes():
  first = {'seed': '0', 'code': 'a'}
  message = difference([first, first, {'seed': '1', 'code': 'a', 'more': 'x'}])
  assert 'in all 3 processes' in message
  assert 'seed: 0 in process 0, 1 in 2' in message
  assert 'more: (none) in process 0, x in 2' in message
  assert 'code' not in message.split(' Start ')[0]


def test_one_process_agrees_with_itself():
  agree({'seed': '0'})
  assert maximum(15) == 15
  np.testing.assert_array_equal(of_first(np.array([True, False])), [True, False])


def test_the_version_is_of_the_source_that_runs():
  assert re.fullmatch(r'harma_jax \S+, jax \S+, source [0-9a-f]{12}', code_version())
  assert code_version() == code_version()
