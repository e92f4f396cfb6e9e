"""Operations that move pixels: one bilinear warp, and a matrix for each operation.

Matrices are row-major 2 x 3 and take the index (x, y) of a pixel to its source's.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from harma_jax.augment.level import MAX_LEVEL

FILL = 128
# Coordinates are multiples of 1 / ONE: integers are exact in any order.
ONE = 2**16
_DROPPED_BITS = 5
_PART = ONE >> _DROPPED_BITS

Matrix = tuple[float, float, float, float, float, float]
IDENTITY: Matrix = (1, 0, 0, 0, 1, 0)


def shear_x(level: float, sign: int, side: int) -> Matrix:
  """Moves a row at height y by `0.3 * level / 10 * y` to the right, or left."""
  return 1, -sign * 0.3 * level / MAX_LEVEL, 0, 0, 1, 0


def shear_y(level: float, sign: int, side: int) -> Matrix:
  """Moves a column at x by `0.3 * level / 10 * x` down, or up."""
  return 1, 0, 0, -sign * 0.3 * level / MAX_LEVEL, 1, 0


def translate_x(level: float, sign: int, side: int) -> Matrix:
  """Moves by `level` pixels to the left, or right."""
  return 1, 0, sign * level, 0, 1, 0


def translate_y(level: float, sign: int, side: int) -> Matrix:
  """Moves by `level` pixels up, or down."""
  return 1, 0, 0, 0, 1, sign * level


def rotate(level: float, sign: int, side: int) -> Matrix:
  """Turns by `30 * level / 10` degrees counter-clockwise, or clockwise.

  About pixel (side / 2, side / 2), as in the released code.
  """
  angle = math.radians(sign * 30 * level / MAX_LEVEL)
  cos, sin, center = math.cos(angle), math.sin(angle), side / 2
  return cos, -sin, center * (1 - cos + sin), sin, cos, center * (1 - sin - cos)


MATRICES = {
  'ShearX': shear_x,
  'ShearY': shear_y,
  'TranslateX': translate_x,
  'TranslateY': translate_y,
  'Rotate': rotate,
}


def in_units(matrix: Matrix) -> np.ndarray:
  """The matrix as i32[6], in units of 1 / ONE."""
  return np.round(np.asarray(matrix) * ONE).astype(np.int32)


def warp(planes: jax.Array, matrix: jax.Array) -> jax.Array:
  """Bilinear, as Pillow's `transform`; 128 where the source's centre is outside.

  Args:
    planes: u8[C, H, W].
    matrix: i32[6] of `in_units`.

  Returns:
    u8[C, H, W], rounded down.
  """
  _, height, width = planes.shape
  y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing='ij')
  a, b, c, d, e, f = matrix
  x, y = a * x + b * y + c, d * x + e * y + f
  left, top = x // ONE, y // ONE
  right_part, bottom_part = (x % ONE) >> _DROPPED_BITS, (y % ONE) >> _DROPPED_BITS

  def row(y):
    first, second = _take(planes, y, left), _take(planes, y, left + 1)
    return first * _PART + (second - first) * right_part[None]

  first, second = row(top), row(top + 1)
  values = (first * _PART + (second - first) * bottom_part[None]) // _PART**2
  inside = _within(x, width) & _within(y, height)
  return jnp.where(inside[None], values, FILL).astype(jnp.uint8)


def _within(x: jax.Array, length: int) -> jax.Array:
  return (x >= -ONE // 2) & (x < length * ONE - ONE // 2)


def _take(planes: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
  """i32[C, H, W]: the pixels at these indices, or the nearest inside."""
  channels, height, width = planes.shape
  y, x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
  return planes.reshape(channels, -1)[:, y * width + x].astype(jnp.int32)
