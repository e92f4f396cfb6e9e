"""Clocks and gauges: seconds of steps, rates, FLOP/s and memory of a device."""

import itertools
import time
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from harma_jax.devices.compilation import memory_of
from harma_jax.stepping.step import TrainState


def time_steps(
  step: Callable,
  state: TrainState,
  arguments: Iterable[tuple],
  *,
  warmup: int,
  steps: int,
) -> tuple[TrainState, np.ndarray]:
  """Seconds of each of `steps` calls, after `warmup` others, and the state then.

  A call is `step(state, *arguments)`, a training step or several in one program.

  The host waits for a step before it starts the next but one, so that the queue of an
  accelerator never runs empty.
  """
  ends, pending = [], None
  for found in itertools.islice(arguments, steps_taken(warmup=warmup, steps=steps)):
    state, metrics = step(state, *found)
    if pending is not None:
      jax.block_until_ready(pending)
      ends.append(time.perf_counter())
    pending = metrics
  jax.block_until_ready(pending)
  return state, np.diff(ends)[-steps:]


def steps_taken(*, warmup: int, steps: int) -> int:
  """How many calls `time_steps` makes."""
  return warmup + steps + 2  # the first end is a start, and the last step has no next


def rates_of(seconds: np.ndarray, *, count: int) -> dict[str, float]:
  """Per second, where each of `seconds` f64[n] was taken by `count`.

  `mean` is of the whole time; `median`, `p5` and `p95` are of the single rates.
  """
  rates = count / np.asarray(seconds)
  median, p5, p95 = np.percentile(rates, (50, 5, 95))
  mean = count * len(rates) / np.sum(seconds)
  found = {'median': median, 'p5': p5, 'p95': p95, 'mean': mean}
  return {name: float(rate) for name, rate in found.items()}


def utilisation(
  *, flop_per_pair: float | None, pairs_per_second: float, peak: float, devices: int
) -> float | None:
  """The share of the FLOP/s of `devices`, `peak` each, that the model's FLOP take."""
  if flop_per_pair is None:
    return None
  return flop_per_pair * pairs_per_second / (peak * devices)


def waiting_share(step_seconds: np.ndarray, seconds: np.ndarray) -> float:
  """The share of `seconds` of whole steps that steps alone would not have taken."""
  return float(max(0.0, 1 - np.mean(step_seconds) / np.mean(seconds)))


def matmul_peak(*, dtype: jnp.dtype, side: int, chain: int, repeats: int) -> float:
  """FLOP/s of one device in products of two `side` x `side` matrices.

  The best of `repeats` timings of `chain` products in a row.
  """
  right = jax.random.normal(jax.random.key(0), (side, side), dtype) * side**-0.5

  @jax.jit
  def products(left):
    for _ in range(chain):
      left = left @ right
    return left

  jax.block_until_ready(products(right))
  best = float('inf')
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(products(right))
    best = min(best, time.perf_counter() - start)
  return 2 * side**3 * chain / best


def peak_memory(device: jax.Device, compiled: jax.stages.Compiled | None) -> dict:
  """Bytes of one device at the most, and who says so; null where nobody does."""
  stats = device.memory_stats() or {}
  if 'peak_bytes_in_use' in stats:
    return memory_row(stats['peak_bytes_in_use'], source='device')
  memory = memory_of(compiled) if compiled else None
  if memory is None:
    return memory_row(None, source=f'none: {device.platform} keeps no statistics')
  return memory_row(memory.total, source='compiler')


def memory_row(count: int | None, *, source: str) -> dict:
  """What a report says of memory."""
  return {'peak_memory_bytes': count, 'peak_memory_source': source}
