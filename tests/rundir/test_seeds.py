"""The folder of several seeds: which runs it holds."""

import json

import pytest

from harma_jax.errors import UserError
from harma_jax.rundir.seeds import (
  SEEDS_FILE,
  check_not_of_seeds,
  finished_seeds,
  name_of,
  started_seeds,
)


def test_seeds_are_found_as_they_are_listed(tmp_path):
  (tmp_path / SEEDS_FILE).write_text(json.dumps({'seeds': [3, 0]}))
  assert finished_seeds(tmp_path) == [tmp_path / name_of(3), tmp_path / name_of(0)]


def test_seeds_that_have_not_all_finished_are_named(tmp_path):
  assert finished_seeds(tmp_path) == []
  (tmp_path / 'seed_0').mkdir()
  with pytest.raises(UserError, match=f'found {tmp_path} without'):
    finished_seeds(tmp_path)


def test_seeds_that_have_started_are_no_place_for_one_run(tmp_path):
  folder = tmp_path / 'my runs'
  check_not_of_seeds(folder)
  for name in ('seed_10', 'seed_2', 'seed_x', 'seed_4'):
    (folder / name).mkdir(parents=True)
  for name in ('seed_10', 'seed_2', 'seed_x'):
    (folder / name / 'config.json').write_text('{"optimizer": {}}')
  assert started_seeds(folder) == [2, 10]
  with pytest.raises(UserError, match=r'the seeds 2, 10[.] Give --seeds=2,10') as error:
    check_not_of_seeds(folder)
  assert f"--workdir='{folder}/seed_2' for one of them" in str(error.value)
  (folder / 'config.json').write_text('{"optimizer": {}}')
  assert started_seeds(folder) == []
