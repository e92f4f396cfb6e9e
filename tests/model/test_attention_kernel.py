"""The choice of an attention kernel; a GPU is not needed to decide."""

import jax
import jax.numpy as jnp
import pytest

from harma_jax.model import attention_kernel
from harma_jax.model.attention_kernel import fastest_kernel, time_kernel
from harma_jax.model.sizes import named_size

SIZE = named_size('ViT-B-32')


@pytest.fixture
def gpu(monkeypatch):
  monkeypatch.setattr(attention_kernel.jax, 'default_backend', lambda: 'gpu')


def timed(seconds, asked):
  def seconds_of(kernel, shape, *, dtype, causal):
    asked.append((kernel, shape, causal))
    found = seconds[kernel]
    if isinstance(found, Exception):
      raise found
    return found

  return seconds_of


def choose(seconds, *, dtype=jnp.bfloat16, asked=None):
  asked = [] if asked is None else asked
  return fastest_kernel(
    SIZE, batch_size=8, dtype=dtype, seconds_of=timed(seconds, asked)
  )


@pytest.mark.parametrize('fastest', ['xla', 'cudnn'])
def test_the_faster_kernel_is_chosen_in_the_shapes_of_both_towers(gpu, fastest):
  asked = []
  seconds = {'xla': 2.0, 'cudnn': 2.0} | {fastest: 1.0}
  assert choose(seconds, asked=asked) == fastest
  image, text = (8, 50, 12, 64), (8, 77, 8, 64)
  assert asked == [
    (kernel, shape, shape is text)
    for shape in (image, text)
    for kernel in ('cudnn', 'xla')
  ]


@pytest.mark.parametrize(
  'error', [RuntimeError('no cuDNN'), ValueError('no such head')]
)
def test_a_kernel_that_cannot_is_not_chosen(gpu, error):
  assert choose({'xla': 2.0, 'cudnn': error}) == 'xla'


def test_an_error_of_the_common_kernel_is_not_hidden(gpu):
  with pytest.raises(RuntimeError, match='out of memory'):
    choose({'xla': RuntimeError('out of memory'), 'cudnn': 1.0})


def test_nothing_is_measured_in_full_precision_or_without_a_gpu(monkeypatch):
  asked = []
  assert choose({}, asked=asked) == 'xla'
  monkeypatch.setattr(attention_kernel.jax, 'default_backend', lambda: 'gpu')
  assert choose({}, dtype=jnp.float32, asked=asked) == 'xla'
  assert not asked


def test_kernels_are_timed_on_the_device_or_refused_by_it():
  shape = (2, 5, 2, 8)
  assert 0 < time_kernel('xla', shape, dtype=jnp.bfloat16, causal=True) < 60
  if jax.default_backend() == 'cpu':
    with pytest.raises((RuntimeError, ValueError)):
      time_kernel('cudnn', shape, dtype=jnp.bfloat16, causal=True)
