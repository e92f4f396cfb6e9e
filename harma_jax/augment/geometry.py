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
BITS = 16
ONE = 1 << BITS
_DROPPED_BITS = 5
_PART_BITS = BITS - _DROPPED_BITS

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
  y, x = source(matrix, y, x)
  left, top = x >> BITS, y >> BITS
  rows = [[_take(planes, top + i, left + j) for j in (0, 1)] for i in (0, 1)]
  inside = within(x, width) & within(y, height)
  return jnp.where(inside[None], blended(*rows, y[None], x[None]), FILL).astype(
    jnp.uint8
  )


def source(matrix, y: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The y and x of the sources of pixels i32, in units of 1 / ONE."""
  a, b, c, d, e, f = matrix
  return d * x + e * y + f, a * x + b * y + c


def blended(
  top: list[jax.Array], bottom: list[jax.Array], y: jax.Array, x: jax.Array
) -> jax.Array:
  """The bilinear mean i32, rounded down, of the pixels around (y, x) of `source`."""
  right_part, bottom_part = (
    (x & ONE - 1) >> _DROPPED_BITS,
    (y & ONE - 1) >> _DROPPED_BITS,
  )
  top, bottom = (
    (left << _PART_BITS) + (right - left) * right_part for left, right in (top, bottom)
  )
  return ((top << _PART_BITS) + (bottom - top) * bottom_part) >> 2 * _PART_BITS


def within(x: jax.Array, length: int) -> jax.Array:
  """Where the pixel at x of `source` has its centre in the image."""
  return (x >= -ONE // 2) & (x < length * ONE - ONE // 2)


def shears(matrix: jax.Array, side: int) -> jax.Array:
  """A matrix of determinant 1 as three shears: of rows, of columns and of rows again.

  Args:
    matrix: i32[6] of `in_units`.
    side: pixels of the image; the last shear turns about its middle and moves little.

  Returns:
    i32[6]: slope and offset of each, in units of 1 / ONE: row y comes from
    `x + slope * y + offset`, column x from `y + slope * x + offset`.
  """
  a, b, c, d, e, f = matrix.astype(jnp.float32) / ONE
  divisor = jnp.where(d == 0, 1, d)
  first, last, middle = (
    jnp.where(d == 0, b, (a - 1) / divisor),
    (e - 1) / divisor,
    side / 2,
  )
  lines = [
    *(first, c - first * f + last * middle),
    *(d, f + (e - 1) * middle),
    *(last, -last * middle),
  ]
  return jnp.round(jnp.stack(lines) * ONE).astype(jnp.int32)


def _take(planes: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
  """i32[C, H, W]: the pixels at these indices, or the nearest inside."""
  channels, height, width = planes.shape
  y, x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
  return planes.reshape(channels, -1)[:, y * width + x].astype(jnp.int32)
