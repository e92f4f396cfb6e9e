"""Which kernel computes attention fastest on this device, by measurement."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from absl import logging

from harma_jax.model.sizes import Size

KERNELS = ('cudnn', 'xla')
HALF = (jnp.bfloat16, jnp.float16)
REPEATS = 5


def has_choice(dtype: jnp.dtype) -> bool:
  """Whether there is more than one: cuDNN's is for NVIDIA GPUs and half precision."""
  return jax.default_backend() == 'gpu' and dtype in HALF


def fastest_kernel(
  size: Size,
  *,
  batch_size: int,
  dtype: jnp.dtype,
  seconds_of: Callable[..., float] | None = None,
) -> str:
  """The faster of `KERNELS`, forward and backward, in the shapes of both towers.

  Nothing is measured where there is no choice.

  Args:
    size: of the towers.
    batch_size: on one device.
    dtype: of the towers' arithmetic.
    seconds_of: `seconds_of(kernel, shape, dtype=, causal=)`; default `time_kernel`.
  """
  if not has_choice(dtype):
    return 'xla'
  seconds_of = seconds_of or time_kernel
  lengths = size.image_positions, size.context_length
  seconds = dict.fromkeys(KERNELS, 0.0)
  for tower, length in zip((size.image, size.text), lengths, strict=True):
    shape = batch_size, length, tower.heads, tower.width // tower.heads
    for kernel in KERNELS:
      causal = tower is size.text and size.family.causal
      try:
        seconds[kernel] += seconds_of(kernel, shape, dtype=dtype, causal=causal)
      except (RuntimeError, ValueError) as error:
        if kernel == 'xla':
          raise
        logging.info('model.attention=auto: cudnn cannot: %s', error)
        seconds[kernel] = float('inf')
  chosen = min(seconds, key=seconds.get)
  times = ', '.join(f'{name} {1e3 * each:.2f} ms' for name, each in seconds.items())
  logging.info('model.attention=auto: %s (a layer of both towers: %s)', chosen, times)
  return chosen


def time_kernel(
  kernel: str, shape: tuple[int, ...], *, dtype: jnp.dtype, causal: bool
) -> float:
  """Seconds of attention's value and gradients, the best of a few.

  Args:
    kernel: one of `KERNELS`.
    shape: batch, positions, heads, width of a head.
    dtype: of queries, keys and values.
    causal: as in the text tower.

  Raises:
    RuntimeError, ValueError: the kernel does not take them, or not on this device.
  """

  def attend(query, key, value):
    return jax.nn.dot_product_attention(
      query, key, value, is_causal=causal, implementation=kernel
    ).astype(jnp.float32)

  run = jax.jit(jax.grad(lambda *qkv: attend(*qkv).sum(), argnums=(0, 1, 2)))
  keys = jax.random.split(jax.random.key(0), 3)
  inputs = [jax.random.normal(key, shape, dtype) for key in keys]
  jax.block_until_ready(run(*inputs))
  found = []
  for _ in range(REPEATS):
    start = time.perf_counter()
    jax.block_until_ready(run(*inputs))
    found.append(time.perf_counter() - start)
  return min(found)
