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


def histogram(plane: jax.Array, *, rows: int = 8) -> jax.Array:
  """Counts the values of u8[H, W]: i32[256], so many rows at a time.

  A value is 16 times its row of a 16 x 16 table plus its column, so that a product of
  two narrow one-hot matrices counts; accelerators are slow at adding to an address.
  """
  height, _ = plane.shape
  # A few rows at a time: the one-hot matrices of many planes would fill the memory.
  rows = math.gcd(height, rows)
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


def look_up_by_product(plane: jax.Array, table: jax.Array) -> jax.Array:
  """`look_up` without an address for a pixel, which a TPU is slow at.

  A product with a one-hot matrix of the high digit of 16 finds a row of the table, a
  select of the low one the entry. So many pixels at once fill a tile of 128.
  """
  height, width = plane.shape
  groups = math.gcd(height, 8)
  values = plane.reshape(groups, 1, height // groups, width)
  digits = jnp.arange(16, dtype=jnp.uint8)[:, None, None]
  high = (values >> 4 == digits).astype(jnp.bfloat16)
  tables = jnp.kron(jnp.eye(groups), table.reshape(16, 16)).astype(jnp.bfloat16)
  found = jnp.einsum(
    'ghyx,ghkl->klyx',
    high,
    tables.reshape(groups, 16, groups, 16),
    preferred_element_type=jnp.float32,
  )
  found = jnp.where(values & 15 == digits, found, 0).sum(axis=1)
  return found.reshape(height, width).astype(jnp.uint8)


def blend_smooth(plane: jax.Array, factor: jax.Array) -> jax.Array:
  """Blends u8[H, W] from smoothed (factor 0) over itself (`ONE`) to sharpened.

  Smoothed with [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13, borders kept, as in Pillow; the
  result is rounded down and clipped to 0..255. `factor`, i32[], is in units of 1 / ONE.
  """
  values = plane.astype(jnp.int32)
  smooth = jnp.where(_border(plane.shape), values, _smooth(values))
  blended = smooth * ONE + factor * (values - smooth)
  return jnp.clip(blended // ONE, 0, 255).astype(jnp.uint8)


def _smooth(values: jax.Array) -> jax.Array:
  """The rounded weighted mean; not meant for the border."""
  padded = jnp.pad(values, 1)
  rows = padded[:-2] + padded[1:-1] + padded[2:]
  total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * values
  return (2 * total + 13) // 26


def _border(shape: tuple[int, int]) -> np.ndarray:
  """bool[H, W]: whether a pixel lacks a neighbour."""
  border = np.ones(shape, bool)
  border[1:-1, 1:-1] = False
  return border
