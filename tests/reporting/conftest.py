"""Runs as they are found: with another config than they trained with."""

import json
import shutil

import pytest

from harma_jax.rundir.workdir import read_config


@pytest.fixture
def copied(finished_run, tmp_path):
  """`copied({'seed': 3})`: a copy of the run with other fields in its config."""

  def make(changes=None):
    folder = shutil.copytree(finished_run, tmp_path / 'run')
    config = read_config(folder)
    config.update_from_flattened_dict(changes or {})
    (folder / 'config.json').write_text(config.to_json())
    results = json.loads((folder / 'results.json').read_text())
    (folder / 'results.json').write_text(json.dumps(results | {'seed': config.seed}))
    return folder

  return make
