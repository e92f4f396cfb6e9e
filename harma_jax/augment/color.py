"""Operations that move no pixel: tables of 256 values, and the sharpness blend."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from harma_jax.augment.level import MAX_LEVEL

# Factors of a blend are multiples of this: integers are exact in any order.
ONE = 2**16


def blend_factor(level: float) -> float:
  """0.1 (level 0) to 1.9 (level 10); 1 keeps the image."""
  return level / MAX_LEVEL * 1.8 + 0.1


def histogram(plane: jax.Array) -> jax.Array:
  """Counts the values of u8[H, W]: i32[256].

  A value is 16 times its row of a 16 x 16 table plus its column, so that a product of
  two narrow one-hot matrices counts; accelerators are slow at adding to an address.
  """
  height, _ = plane.shape
  # A few rows at a time: the one-hot matrices of a whole plane would fill the memory.
  rows = math.gcd(height, 8)
  digits = jnp.arange(16, dtype=jnp.uint8)[:, None]

  def add(i, counts):
    values = jax.lax.dynamic_slice_in_dim(plane, i * rows, rows).reshape(1, -1)
    high = (values >> 4 == digits).astype(jnp.bfloat16)
    low = (values & 15 == digits).astype(jnp.bfloat16)
    found = jnp.matmul(high, low.T, preferred_element_type=jnp.float32)
    return counts + found.astype(jnp.int32)

  counts = jnp.zeros((16, 16), jnp.int32)
  return jax.lax.fori_loop(0, height // rows, add, counts).reshape(-1)


def auto_contrast(counts: jax.Array) -> jax.Array:
  """The table i32[256] that stretches a channel with this histogram to 0..255."""
  values = jnp.arange(256)
  low = jnp.argmax(counts > 0)
  high = 255 - jnp.argmax(counts[::-1] > 0)
  stretched = (values - low) * 255 // jnp.maximum(high - low, 1)
  return jnp.where(high > low, jnp.clip(stretched, 0, 255), values)


def equalize(counts: jax.Array) -> jax.Array:
  """The table i32[256] that flattens a channel, of its histogram i32[256].

  As Pillow's `ImageOps.equalize`, remainders included.
  """
  values = jnp.arange(256)
  last = counts[jnp.max(jnp.where(counts > 0, values, 0))]
  step = (counts.sum() - last) // 255
  below = jnp.cumsum(counts) - counts
  flattened = (step // 2 + below) // jnp.maximum(step, 1)
  return jnp.where(step > 0, jnp.minimum(flattened, 255), values)


def brightness(level: float) -> np.ndarray:
  """The table i32[256] that multiplies by `blend_factor(level)`, clipped to 0..255."""
  scaled = np.arange(256, dtype=np.float32) * np.float32(blend_factor(level))
  return np.minimum(scaled, 255).astype(np.int32)


def look_up(plane: jax.Array, table: jax.Array) -> jax.Array:
  """Replaces every value of u8[H, W] by its entry in the table i32[256]."""
  return table.astype(jnp.uint8)[plane]


def blend_smooth(plane: jax.Array, factor: jax.Array) -> jax.Array:
  """Blends u8[H, W] from smoothed (factor 0) over itself (`ONE`) to sharpened.

  Smoothed with [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13, borders kept, as in Pillow; the
  result is rounded down and clipped to 0..255. `factor`, i32[], is in units of 1 / ONE.
  """
  values = plane.astype(jnp.int32)
  smooth = jnp.where(_border(plane.shape), values, smoothed(_weighted(values)))
  return blended(values, smooth, factor).astype(jnp.uint8)


def blended(values: jax.Array, smooth: jax.Array, factor: jax.Array) -> jax.Array:
  """i32 pixels from smooth (factor 0) over themselves (`ONE`) to sharpened."""
  return jnp.clip((smooth * ONE + factor * (values - smooth)) >> 16, 0, 255)


def smoothed(total: jax.Array) -> jax.Array:
  """The rounded mean i32, of the sum with weights 1 and 5."""
  # By a multiplication: exact for all sums of pixels, and no device divides fast.
  return (2 * total + 13) * 40330 >> 20


def _weighted(values: jax.Array) -> jax.Array:
  """The sum with weights 1 and 5; not meant for the border."""
  padded = jnp.pad(values, 1)
  rows = padded[:-2] + padded[1:-1] + padded[2:]
  return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * values


def _border(shape: tuple[int, int]) -> np.ndarray:
  """bool[H, W]: whether a pixel lacks a neighbour."""
  border = np.ones(shape, bool)
  border[1:-1, 1:-1] = False
  return border
