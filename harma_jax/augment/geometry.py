"""Operations that move pixels: one bilinear warp, and a matrix for each operation.

Matrices are row-major 2 x 3 and take the index (x, y) of a pixel to its source's.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from harma_jax.augment.level import MAX_LEVEL

FILL = 128
# Coordinates are multiples of 1 / ONE: integers are exact in any order.
ONE = 2**16
_DROPPED_BITS = 5
_PART = ONE >> _DROPPED_BITS

# By how many pixels three shears miss a rotation, to each side.
_REACH = 2
_WINDOW = 2 * _REACH + 1
# So many bits of a shift are selected by at once.
_DIGIT_BITS = 4

Matrix = tuple[float, float, float, float, float, float]
IDENTITY: Matrix = (1, 0, 0, 0, 1, 0)
Corners = Callable[[jax.Array, jax.Array], list[list[jax.Array]]]


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


def warp(planes: jax.Array, matrix: jax.Array, *, corners: Corners) -> jax.Array:
  """Bilinear, as Pillow's `transform`; 128 where the source's centre is outside.

  Args:
    planes: u8[C, H, W].
    matrix: i32[6] of `in_units`.
    corners: how the pixels around a source are found, `gathered` or `sheared`.

  Returns:
    u8[C, H, W], rounded down.
  """
  _, height, width = planes.shape
  y, x = _source(matrix, height, width)
  right_part, bottom_part = (x % ONE) >> _DROPPED_BITS, (y % ONE) >> _DROPPED_BITS
  rows = [
    first * _PART + (second - first) * right_part[None]
    for first, second in corners(planes, matrix)
  ]
  values = (rows[0] * _PART + (rows[1] - rows[0]) * bottom_part[None]) // _PART**2
  inside = _within(x, width) & _within(y, height)
  return jnp.where(inside[None], values, FILL).astype(jnp.uint8)


def _source(matrix: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
  """i32[H, W] each: the source's y and x in units of 1 / ONE."""
  y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing='ij')
  a, b, c, d, e, f = matrix
  return d * x + e * y + f, a * x + b * y + c


def _within(x: jax.Array, length: int) -> jax.Array:
  return (x >= -ONE // 2) & (x < length * ONE - ONE // 2)


def _corners(matrix: jax.Array, height: int, width: int) -> list[list[tuple]]:
  """Indices (y, x), each i32[H, W], of the four pixels around a source, or nearest."""
  y, x = _source(matrix, height, width)
  rows = [jnp.clip(y // ONE + i, 0, height - 1) for i in (0, 1)]
  columns = [jnp.clip(x // ONE + i, 0, width - 1) for i in (0, 1)]
  return [[(row, column) for column in columns] for row in rows]


def gathered(planes: jax.Array, matrix: jax.Array) -> list[list[jax.Array]]:
  """The four pixels around each source, looked up one by one.

  Args:
    planes: u8[C, H, W].
    matrix: i32[6] of `in_units`.

  Returns:
    2 x 2 (y, x) arrays i32[C, H, W]; beyond the edge stands the nearest inside.
  """
  channels, height, width = planes.shape
  flat = planes.reshape(channels, -1)
  return [
    [flat[:, y * width + x].astype(jnp.int32) for y, x in row]
    for row in _corners(matrix, height, width)
  ]


def sheared(planes: jax.Array, matrix: jax.Array) -> list[list[jax.Array]]:
  """What `gathered` finds, without an address for a pixel, which a TPU is slow at.

  An area-preserving matrix is three shears: rows move along x, columns along y, and rows
  again, each by whole pixels, so that no pixel is lost. The source's pixels then lie
  within `_REACH` of where they are wanted, and a select finds them. How shifts are
  rounded cannot change the result, for where a pixel went is known exactly.

  Args:
    planes: u8[C, H, W], C at most 3.
    matrix: i32[6] of `in_units`: of determinant 1, and slopes as in MATRICES.

  Returns:
    2 x 2 (y, x) arrays i32[C, H, W]; what has its centre outside is not defined.
  """
  channels, height, width = planes.shape
  first, second, last = _shears(matrix, height)
  # No pixel that is seen moves further; the last shear moves even less.
  reach, margin = max(height // 2, MAX_LEVEL), height // 4 + 2 * _REACH
  moved = _shift_rows(
    sum(plane.astype(jnp.int32) << 8 * i for i, plane in enumerate(planes)),
    first(jnp.arange(height)),
    start=-margin,
    length=width + 2 * margin,
    reach=reach,
  )
  columns = second(jnp.arange(-margin, width + margin))
  moved = _shift_rows(
    moved.T, columns, start=-_REACH, length=height + 2 * _REACH, reach=reach
  ).T
  rows = last(jnp.arange(-_REACH, height + _REACH))
  moved = _shift_rows(
    moved, rows, start=margin - _REACH, length=width + 2 * _REACH, reach=margin
  )

  def place(y, x):
    """Where the pixel at (y, x) went, from where it is wanted: 0 to 2 _REACH."""
    x = x - first(y)
    y = y - second(x)
    x = x - last(y)
    y = y - jnp.arange(height)[:, None] + _REACH
    return y, x - jnp.arange(width)[None] + _REACH

  def corner(y, x):
    y, x = place(y, x)
    number, found = y * _WINDOW + x, jnp.zeros((height, width), jnp.int32)
    for i in range(_WINDOW):
      for j in range(_WINDOW):
        near = moved[i : i + height, j : j + width]
        found = jnp.where(number == i * _WINDOW + j, near, found)
    return jnp.stack([(found >> 8 * i) & 255 for i in range(channels)])

  return [
    [corner(*indices) for indices in row] for row in _corners(matrix, height, width)
  ]


def _shears(matrix: jax.Array, height: int) -> list[Callable[[jax.Array], jax.Array]]:
  """By how many pixels the three shears move row y, column x and row y, as functions.

  The last one turns about the middle of the height, which keeps its moves small.
  """
  a, b, c, d, e, f = matrix.astype(jnp.float32) / ONE
  divisor = jnp.where(d == 0, 1, d)
  slope = jnp.where(d == 0, b, (a - 1) / divisor)
  last = (e - 1) / divisor
  middle = height / 2

  def shift(slope, offset):
    slope, offset = (jnp.round(x * ONE).astype(jnp.int32) for x in (slope, offset))
    return lambda index: (slope * index + offset + ONE // 2) // ONE

  return [
    shift(slope, c - slope * f + last * middle),
    shift(d, f + (e - 1) * middle),
    shift(last, -last * middle),
  ]


def _shift_rows(
  image: jax.Array, shifts: jax.Array, *, start: int, length: int, reach: int
) -> jax.Array:
  """i32[H, length]: row y of i32[H, W] from `start + shifts[y]` on, 0 beyond it.

  Digit by digit of the shifts, which are cut to -reach to reach.
  """
  bits = reach.bit_length() + 1
  left = reach - start
  right = length - 1 + (1 << bits) - left - image.shape[1]
  image = jax.lax.pad(image, np.int32(0), [(0, 0, 0), (left, right, 0)])
  shifts = jnp.clip(shifts, -reach, reach)[:, None] + reach
  for low in reversed(range(0, bits, _DIGIT_BITS)):
    digits = 1 << min(_DIGIT_BITS, bits - low)
    digit, kept = (shifts >> low) % digits, image.shape[1] - ((digits - 1) << low)
    parts = [image[:, i << low : (i << low) + kept] for i in range(digits)]
    image = functools.reduce(
      lambda found, i: jnp.where(digit == i, parts[i], found), range(1, digits), parts[0]
    )
  return image
