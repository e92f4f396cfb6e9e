"""Steps that are timed: alone, and with the batches of the host."""

import numpy as np
import pytest

from harma_jax.speed.report import measure


def test_a_step_is_measured_without_data(small_config, fast_peak):
  config = small_config({'data.root': '/nowhere'})
  found = measure(config, mode='step', steps=2, warmup=1)
  assert found['pairs_per_second']['p5'] > 0
  assert found['compile_seconds'] > 0
  assert found['processor_seconds'] > 0
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

  monkeypatch.setattr('harma_jax.speed.steps.time_steps', seconds_of_calls)
  config = small_config({'train.steps_per_dispatch': 3})
  found = measure(config, mode=mode, steps=2, warmup=0)
  assert taken == ([3] if mode == 'step' else [3, 6])
  assert found['pairs_per_second']['mean'] == pytest.approx(3 * 8 / 0.5)
  assert found['steps_per_dispatch'] == 3


def test_training_is_measured_with_its_input(small_config, fast_peak):
  found = measure(small_config(), mode='train', steps=2, warmup=0)
  assert found['pairs_per_second']['mean'] > 0
  assert 0 <= found['share_waiting_for_input'] < 1
  assert found['cache']
