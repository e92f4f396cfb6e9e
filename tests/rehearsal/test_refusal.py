"""A compiler's refusal is told from other errors, and its numbers are read."""

import pytest

from harma_jax.rehearsal.refusal import Refusal, read_refusal


@pytest.mark.parametrize(
  'message',
  [
    'RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO '
    'temporaries (39.50G) exceeds available HBM (15.75G).',
    'RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total '
    'memory required for HLO temporaries (39.50G) exceeds available HBM (15.75G). HLO '
    'module: jit_step.\nSee https://openxla.org/xla/errors/error_1000',
    'RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 39.50G of 15.75G '
    'hbm. Exceeded hbm capacity by 23.75G.',
  ],
)
def test_both_numbers_are_read(message):
  found = read_refusal(message)
  assert found == Refusal(needed=int(39.5 * 2**30), available=int(15.75 * 2**30))


def test_a_refusal_without_numbers_is_one():
  found = read_refusal('RESOURCE_EXHAUSTED: Out of memory while compiling.')
  assert found == Refusal(needed=None, available=None)


def test_another_error_is_none():
  assert read_refusal('INTERNAL: Mosaic failed to compile TPU kernel (1.0G)') is None
