"""What is asked of Slurm."""

import pytest

GPUS = {'SLURM_JOB_ID': '17', 'SLURM_GPUS_ON_NODE': '4'}


@pytest.fixture
def job(shell, tmp_path):
  def run(*words, **environ):
    words = ('--config=configs/rsitmd.py', f'--workdir={tmp_path}', *words)
    return shell('slurm.sbatch', *words, **GPUS, **environ)

  return run


def test_a_job_that_finished_is_one_srun(job, tmp_path):
  (tmp_path / 'results.json').write_text('{}')
  ended, (call,) = job(SLURM_NTASKS_PER_NODE='4')
  assert ended.returncode == 0, ended.stderr
  assert call[:2] == ['srun', '--kill-on-bad-exit=1']
  assert call[3:6] == ['python', '-m', 'harma_jax.main']
  assert call[-1] == f'--workdir={tmp_path}'


def test_a_job_that_was_interrupted_goes_back_to_the_queue(job):
  ended, calls = job(SLURM_NTASKS_PER_NODE='4')
  assert ended.returncode == 0, ended.stderr
  assert calls[1] == ['scontrol', 'requeue', '17']


def test_a_job_that_failed_does_not(job):
  ended, calls = job(SLURM_NTASKS_PER_NODE='4', FAKE_CODE='2')
  assert ended.returncode == 2
  assert len(calls) == 1


@pytest.mark.parametrize(('tasks', 'ids'), [('1', '0,1,2,3'), ('4', 'none')])
def test_one_process_a_node_takes_all_of_its_gpus(job, tmp_path, tasks, ids):
  seen = tmp_path / 'seen'
  srun = tmp_path / 'fakes/srun'
  srun.write_text(f'#!/bin/sh\necho "${{JAX_LOCAL_DEVICE_IDS:-none}}" > {seen}\n')
  job(SLURM_NTASKS_PER_NODE=tasks)
  assert seen.read_text().strip() == ids


def test_a_work_folder_is_wanted(shell):
  ended, calls = shell('slurm.sbatch', '--config=configs/rsitmd.py', **GPUS)
  assert ended.returncode == 2
  assert '--workdir=FOLDER' in ended.stderr
  assert calls == []
