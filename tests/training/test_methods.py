"""Every kind of adapters through a whole run: start, stop, resume, evaluate, load."""

import json

import jax
import numpy as np
import pytest

from harma_jax import load
from harma_jax.building.params import read_workdir
from harma_jax.results.evaluation import evaluate
from harma_jax.rundir.metrics import RunLog
from harma_jax.rundir.workdir import read_config
from harma_jax.training.loop import train
from harma_jax.weights.load import is_new
from harma_jax.weights.names import paths_of

KINDS = {
  'lora': {'model.adapters': 'lora', 'model.lora.mlp': True},
  'adaptformer': {'model.adapters': 'adaptformer'},
  'clip_adapter': {'model.adapters': 'clip_adapter'},
  'harma without attention': {
    'model.adapters': 'harma',
    'model.adapter_attention': False,
  },
}


# The others take the same way through the program.
FIRST, *REST = KINDS


@pytest.fixture(
  params=[FIRST, *(pytest.param(kind, marks=pytest.mark.slow) for kind in REST)]
)
def config(request, small_config, finished_run):
  fields = {'optimizer.train': 'adapters', 'checkpoint.every_steps': 1}
  return small_config(fields | KINDS[request.param] | {'init': str(finished_run)})


@pytest.fixture
def stopped_at_2(monkeypatch):
  """A run is interrupted before it would note its second step; later ones are not."""
  note = RunLog.train

  def train_once(log, step, metrics):
    if step == 2:
      monkeypatch.setattr(RunLog, 'train', note)
      raise KeyboardInterrupt
    note(log, step, metrics)

  monkeypatch.setattr(RunLog, 'train', train_once)


def results_of(workdir):
  """By split the recalls of step 0, and those of the selected step."""
  results = json.loads((workdir / 'results.json').read_text())
  best = results['best_step']
  name = f'step {best}, selected' if best else 'step 0'
  return {
    split: (rows['step 0'], rows[name]) for split, rows in results['splits'].items()
  }


def test_a_run_of_any_adapters_starts_at_its_backbone_and_comes_back(
  config, finished_run, stopped_at_2, tmp_path, caplog
):
  caplog.set_level('INFO')
  with pytest.raises(KeyboardInterrupt):
    train(config, workdir=tmp_path)
  train(config, workdir=tmp_path)
  assert 'resuming after step 1 of 6' in caplog.text
  before, after = results_of(finished_run), results_of(tmp_path)
  for split in ('val', 'test'):
    assert after[split][0] == before[split][1]
  evaluated = evaluate(read_config(tmp_path), workdir=str(tmp_path), splits=['val'])
  selected = evaluated['val']['selected']
  recorded = after['val'][1]
  assert {name: selected[name] for name in recorded} == recorded
  learned = read_workdir(tmp_path)
  backbone = paths_of(read_workdir(finished_run))
  for path, leaf in paths_of(learned).items():
    if not is_new(path) and path != 'temperature':
      np.testing.assert_array_equal(leaf, backbone[path])
  model = load(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, model.params, learned)
  assert model.encode_texts(['fields', 'boats']).shape == (2, 16)
