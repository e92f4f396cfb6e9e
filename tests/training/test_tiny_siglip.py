"""A tiny SigLIP from random weights, then HarMA on it, as the quickstart does it."""

import json

import pytest

from harma_jax.building.config_file import load_config
from harma_jax.rundir.workdir import PRETRAIN
from harma_jax.training.loop import train


def falls(workdir):
  """Whether the mean loss of the last tenth of the steps is below that of the first."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  rows = [row for row in map(json.loads, lines) if 'contrastive' in row]
  losses = [row['contrastive'] for row in rows]
  tenth = max(len(losses) // 10, 1)
  return sum(losses[-tenth:]) < sum(losses[:tenth])


def recalls_of(workdir):
  """Mean recall on test by row: of chance, before, and of the selected step."""
  rows = json.loads((workdir / 'results.json').read_text())['splits']['test']
  selected = next(row for name, row in rows.items() if name.endswith('selected'))
  return [row['mean_recall'] for row in (rows['chance'], rows['step 0'], selected)]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_harma_raises_the_recall_of_a_siglip_trained_from_scratch(tmp_path):
  config = load_config('quickstart.py')
  config.model.size = 'tiny-siglip,patch_size=16'
  config.data.long_texts = 'cut'
  config.data.root = str(tmp_path / 'scenes')
  train(config, workdir=tmp_path / 'run')
  assert falls(tmp_path / 'run' / PRETRAIN)
  for folder in (tmp_path / 'run' / PRETRAIN, tmp_path / 'run'):
    chance, before, selected = recalls_of(folder)
    assert chance < selected
    assert before < selected
