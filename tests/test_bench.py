"""The benchmark: what it counts and draws, and a report of every mode."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver

from harma_jax import bench as bench_module
from harma_jax.bench import (
  FIELDS,
  bench,
  flop_per_pair,
  main,
  random_batch,
  summary,
)
from harma_jax.building.model import build_model
from harma_jax.configs.common import get_config
from harma_jax.errors import UserError


@pytest.fixture
def fast_peak(monkeypatch):
  monkeypatch.setattr(bench_module, 'MATMUL_SIDE', {'cpu': 16})
  monkeypatch.setattr(bench_module, 'MATMUL_REPEATS', 1)


def test_flop_are_those_of_the_unrolled_step_without_recomputation(small_config):
  toy = {'model.adapters': 'harma', 'optimizer.train': 'adapters'}
  flop = [
    flop_per_pair(small_config(toy | changes))
    for changes in (
      {},
      {'model.layers': 'unroll', 'model.remat': 'block'},
      {'data.context_length': 4},
    )
  ]
  assert flop[0] == flop[1]
  assert 0.3 < flop[2] / flop[0] < 1


def test_flop_grow_with_the_batch_by_little_more_than_its_pairs(small_config):
  small, large = (
    flop_per_pair(small_config({'train.batch_size': size})) for size in (8, 16)
  )
  assert 1 <= large / small < 1.1


@pytest.mark.parametrize('captions', [1, 3])
def test_a_random_batch_is_as_the_step_takes_it(small_config, captions):
  config = small_config({'data.captions_per_image': captions})
  model = build_model(config)
  batch = random_batch(config, model)
  tokens = batch['tokens'].reshape(-1, 8)
  assert batch['images'].shape == (8, 16, 16, 3)
  assert batch['tokens'].shape == ((8, 8) if captions == 1 else (8, captions, 8))
  assert batch['rows'].size == len(tokens) == 8 * captions
  for row in tokens:
    end = row.argmax()
    assert row[end] == model.size.vocabulary - 1
    assert (row[:end] > 0).all()
    assert not row[end + 1 :].any()


def test_a_step_is_measured_without_data(small_config, fast_peak):
  config = small_config({'data.root': '/nowhere'})
  found = bench(config, mode='step', steps=2, warmup=1)
  assert found['pairs_per_second']['p5'] > 0
  assert found['compile_seconds'] > 0
  assert found['share_waiting_for_input'] is None
  assert found['model_flop_utilisation'] == pytest.approx(
    found['flop_per_pair']
    * found['pairs_per_second']['median']
    / (found['matmul_flop_per_second'] * 8)
  )
  assert (found['batch'], found['tokens'], found['device_count']) == (8, 8, 8)


@pytest.mark.parametrize('mode', ['step', 'train'])
def test_pairs_of_all_steps_of_a_program_count(
  small_config, fast_peak, monkeypatch, mode
):
  taken = []

  def seconds_of_calls(step, state, arguments, *, warmup, steps):
    state, _ = step(state, *next(iter(arguments)))
    taken.append(int(state.step))
    return state, np.full(steps, 0.5)

  monkeypatch.setattr('harma_jax.bench.time_steps', seconds_of_calls)
  config = small_config({'train.steps_per_dispatch': 3})
  found = bench(config, mode=mode, steps=2, warmup=0)
  assert taken == ([3] if mode == 'step' else [3, 6])
  assert found['pairs_per_second']['mean'] == pytest.approx(3 * 8 / 0.5)
  assert found['steps_per_dispatch'] == 3


def test_the_command_prints_one_object_and_writes_it(
  small_config, fast_peak, capsys, tmp_path, monkeypatch
):
  config = small_config()
  monkeypatch.setattr('harma_jax.cli.read_config_flag', lambda name: (config, ''))
  out = tmp_path / 'found.json'
  with flagsaver.flagsaver(mode='train', steps=2, warmup=0, out=str(out)):
    main(['bench'])
  printed = json.loads(capsys.readouterr().out)
  assert printed == json.loads(out.read_text())
  assert set(FIELDS) < set(printed)
  assert 0 <= printed['share_waiting_for_input'] < 1
  assert printed['pairs_per_second']['mean'] > 0


def test_the_pipeline_is_measured_alone(small_config):
  found = bench(small_config(), mode='pipeline', steps=3, warmup=1)
  assert found['pairs_per_second']['mean'] > 0
  assert found['flop_per_pair'] is None
  assert found['peak_memory_source'].startswith('none')


def test_the_encoders_are_measured(small_config):
  found = bench(small_config(), mode='eval', steps=2, warmup=1)
  assert found['images_per_second']['median'] > 0
  assert found['captions_per_second']['median'] > 0
  assert found['pairs_per_second'] is None


def test_a_mistake_in_the_config_is_found_first():
  with pytest.raises(UserError, match=r'model\.size'):
    bench(get_config(), mode='step', steps=1, warmup=0)


def test_the_summary_is_one_line():
  rate = {'median': 1234.5, 'p5': 1000.0, 'p95': 1500.0, 'mean': 1200.0}
  found = dict.fromkeys(FIELDS) | {
    'mode': 'step',
    'size': 'tiny',
    'dtype': 'float32',
    'batch': 8,
    'tokens': 32,
    'device_count': 2,
    'device': 'cpu',
    'pairs_per_second': rate,
    'model_flop_utilisation': 0.4,
  }
  assert summary(found) == (
    'step: tiny, float32, batch 8, 32 tokens, 2 x cpu; 1,234.5 pairs/s (1,000.0 to '
    '1,500.0); 40.0% of the matmul peak'
  )
