"""`results.json`: of this run, of another, damaged."""

import json
import shutil

import pytest

from harma_jax.errors import UserError
from harma_jax.rundir.results import read_results
from harma_jax.training.loop import train


@pytest.fixture
def workdir(finished_run, tmp_path):
  return shutil.copytree(finished_run, tmp_path / 'run')


def change(workdir, **values):
  path = workdir / 'results.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_those_of_the_run_are_read(workdir):
  results = read_results(workdir)
  assert results == json.loads((workdir / 'results.json').read_text())
  (workdir / 'results.json').unlink()
  assert read_results(workdir) == {}


def of_other_recalls(workdir):
  splits = read_results(workdir)['splits']
  splits['val']['step 0']['mean_recall'] += 1.0
  change(workdir, splits=splits)


SPOILS = {
  'seed 7, the config has 0': lambda workdir: change(workdir, seed=7),
  r'mean recall [\d.]+ on val at step 0, metrics\.jsonl has': of_other_recalls,
  'no best_step, splits, steps': lambda workdir: (workdir / 'results.json').write_text(
    '{"seed": 0}'
  ),
}


@pytest.mark.parametrize('found', SPOILS)
def test_those_of_another_run_are_refused(workdir, found):
  SPOILS[found](workdir)
  with pytest.raises(UserError, match=f'run in {workdir}; found in .*: {found}'):
    read_results(workdir)


def test_the_command_that_trained_writes_them_again(workdir, small_config):
  before = read_results(workdir)
  SPOILS['seed 7, the config has 0'](workdir)
  (workdir / 'results.json').unlink()  # as the message says
  train(small_config(), workdir=workdir)
  assert read_results(workdir) == before
