"""The folder of several seeds: which runs it holds."""

import json

import pytest

from harma_jax.errors import UserError
from harma_jax.rundir.seeds import SEEDS_FILE, finished_seeds, name_of


def test_seeds_are_found_as_they_are_listed(tmp_path):
  (tmp_path / SEEDS_FILE).write_text(json.dumps({'seeds': [3, 0]}))
  assert finished_seeds(tmp_path) == [tmp_path / name_of(3), tmp_path / name_of(0)]


def test_seeds_that_have_not_all_finished_are_named(tmp_path):
  assert finished_seeds(tmp_path) == []
  (tmp_path / 'seed_0').mkdir()
  with pytest.raises(UserError, match=f'found {tmp_path} without'):
    finished_seeds(tmp_path)
