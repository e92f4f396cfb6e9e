"""The step of transformers and PEFT trains what ours does."""

import importlib
import json
import pathlib
import sys

import numpy as np
import pytest

from benchmarks import compare_siglip
from harma_jax.building.model import build_model
from harma_jax.building.step import build_optimizer, state_shapes
from harma_jax.configs.common import get_config
from harma_jax.model.sizes import named_size
from harma_jax.weights.load import is_new
from harma_jax.weights.names import paths_of

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SIZE = 'tiny-siglip,vocabulary=100'


@pytest.fixture(scope='module')
def baseline():
  for package in ('torch', 'peft', 'transformers'):
    pytest.importorskip(package)
  sys.path.insert(0, str(REPOSITORY / 'benchmarks'))
  try:
    yield importlib.import_module('siglip_baseline')
  finally:
    sys.path.remove(str(REPOSITORY / 'benchmarks'))


def trained_by_us():
  """The sizes of the matrices of LoRA that a step of ours trains."""
  config = get_config()
  config.model.update({'size': SIZE, 'adapters': 'lora'})
  optimizer, _ = build_optimizer(config, total_steps=1)
  state = state_shapes(config, build_model(config), optimizer)
  return sum(
    leaf.size for path, leaf in paths_of(state.trainable).items() if is_new(path)
  )


def test_both_sides_train_as_much(baseline):
  model = baseline.make_model(named_size(SIZE))
  named = {name: p for name, p in model.named_parameters() if p.requires_grad}
  assert all('lora_' in name for name in named)
  assert sum(p.numel() for p in named.values()) == trained_by_us()


def test_a_step_lowers_the_loss_of_its_batch(baseline):
  size = named_size(SIZE)
  baseline.torch.manual_seed(0)
  step = baseline.make_step(baseline.make_model(size))
  batch = baseline.random_batch(size, batch=3)
  losses = [float(step(batch)[0]) for _ in range(4)]
  assert np.all(np.diff(losses) < 0)


def test_sides_take_turns_and_ratios_are_of_one_round(monkeypatch, tmp_path):
  asked, speeds = [], iter([2.0, 1.0, 9.0, 3.0])

  def run(words, *, platform):
    asked.append(words)
    speed = next(speeds)
    return {'pairs_per_second': {'median': speed}, 'processor_seconds': 8 / speed}

  monkeypatch.setattr(compare_siglip, 'run_process', run)
  words = ['--rounds=2', '--jax_flags=--config.model.layers=unroll']
  arguments = compare_siglip.parse(['--out', str(tmp_path / 'f.json'), *words])
  found = compare_siglip.compare(arguments)
  assert found['of the rounds'] == [2.0, 3.0]
  assert found['speed over PyTorch eager'] == 2.5
  assert found['processor seconds of PyTorch over ours'] == 2.5
  assert ['siglip_baseline.py' in words[1] for words in asked] == [False, True] * 2
  assert '--config.train.batch_size=8' in asked[0]
  assert [words[-1] == '--config.model.layers=unroll' for words in asked] == [
    True,
    False,
  ] * 2
  assert json.dumps(found)


def test_a_side_that_fails_ends_the_comparison(monkeypatch, tmp_path):
  monkeypatch.setattr(compare_siglip, 'run_process', lambda *_, **__: 'failed: memory')
  arguments = compare_siglip.parse(['--out', str(tmp_path / 'f.json')])
  with pytest.raises(SystemExit, match='failed: memory'):
    compare_siglip.compare(arguments)
