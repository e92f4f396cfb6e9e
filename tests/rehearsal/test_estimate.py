"""The time of a program by its compiler's cycles, and of kernels without any."""

import pytest

from harma_jax.devices.targets import named_target
from harma_jax.rehearsal.estimate import cycles_of, estimate, kernels_of

V5E = named_target('v5e')


def test_cycles_count_as_often_as_they_run(program):
  cycles = cycles_of(program)
  assert sum(cycles.values()) == 3 * (1000 + 200) + 30 + 5000 + 7
  assert cycles['jit(step)/augment/vmap()/gather'] == 30


def test_kernels_take_the_larger_of_work_and_traffic(program):
  told, untold = kernels_of(program, V5E)
  assert told.name.endswith('attention/pallas_call')
  assert (told.flop, told.bytes, told.runs) == (1_970_000_000, 8190, 1)
  assert told.seconds == pytest.approx(1.97e9 / 197e12)  # above 8190 / 819e9
  arrays = 2 * 8 * 128 * 2  # two of whole tiles
  assert (untold.flop, untold.bytes) == (None, arrays)
  assert untold.seconds == pytest.approx(arrays / 819e9)


def test_the_estimate_is_the_sum_of_its_parts_and_has_the_kernels(program):
  found = estimate(program, V5E)
  second = 1 / 1.5e9
  kernel, other = (kernel.seconds for kernel in found.kernels)
  assert found.parts['image tower, forward'] == pytest.approx(3000 * second + kernel)
  assert found.parts['image tower, backward'] == pytest.approx(5000 * second)
  assert found.parts['copies of residuals'] == pytest.approx(600 * second)
  assert found.parts['augmentation'] == pytest.approx(30 * second)
  assert found.parts['the rest'] == pytest.approx(7 * second + other)
  assert found.seconds == pytest.approx(8637 * second + kernel + other)
