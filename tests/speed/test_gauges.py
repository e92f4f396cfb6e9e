"""Clocks and gauges against plain arithmetic."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.speed.gauges import (
  matmul_peak,
  peak_memory,
  rates_of,
  time_steps,
  utilisation,
  waiting_share,
)


def test_rates_are_percentiles_of_single_timings_and_their_mean():
  seconds = np.array([1.0, 2.0, 4.0])
  rates = rates_of(seconds, count=8)
  assert rates['median'] == 4
  assert rates['mean'] == pytest.approx(24 / 7)
  assert rates['p5'] == pytest.approx(np.percentile([8, 4, 2], 5))
  assert rates['p5'] < rates['median'] < rates['p95'] < 8


def test_utilisation_is_of_all_devices():
  shares = {'flop_per_pair': 2e9, 'pairs_per_second': 100.0, 'peak': 1e12}
  assert utilisation(**shares, devices=1) == pytest.approx(0.2)
  assert utilisation(**shares, devices=4) == pytest.approx(0.05)
  assert utilisation(**shares | {'flop_per_pair': None}, devices=1) is None


def test_waiting_is_what_whole_steps_take_longer():
  assert waiting_share(np.array([1.0, 3.0]), np.array([4.0, 4.0])) == 0.5
  assert waiting_share(np.array([2.0]), np.array([1.0])) == 0


def test_warm_up_steps_are_not_timed_and_each_step_goes_on_from_the_last():
  pauses = iter([0.2, 0.2, 0.2, *[0.02] * 10])

  def step(state, batch):
    time.sleep(next(pauses))
    return state + batch, {'state': jnp.asarray(state)}

  state, seconds = time_steps(step, 0, iter([(1,)] * 10), warmup=2, steps=4)
  assert state == 8
  assert seconds.shape == (4,)
  assert seconds.min() >= 0.02
  assert np.median(seconds) < 0.2


def test_the_matmul_peak_counts_two_operations_a_product(monkeypatch):
  clock = iter(range(100))
  monkeypatch.setattr(time, 'perf_counter', lambda: next(clock))
  peak = matmul_peak(dtype=jnp.float32, side=8, chain=3, repeats=2)
  assert peak == 2 * 8**3 * 3


def test_memory_comes_from_the_device_or_else_the_compiler_or_else_is_unknown():
  class Device:
    platform = 'cpu'

    def __init__(self, stats):
      self.memory_stats = lambda: stats

  compiled = jax.jit(lambda x: x + 1).lower(np.zeros(100, np.float32)).compile()
  found = [
    peak_memory(Device({'peak_bytes_in_use': 7}), compiled),
    peak_memory(Device(None), compiled),
    peak_memory(Device(None), None),
  ]
  assert [row['peak_memory_bytes'] for row in found] == [7, 800, None]
  sources = [row['peak_memory_source'].split(':')[0] for row in found]
  assert sources == ['device', 'compiler', 'none']
