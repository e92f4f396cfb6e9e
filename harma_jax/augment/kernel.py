"""RandAugment's operations as a kernel for TPUs, which are slow at an address a pixel.

An image is a canvas i32: its three channels packed in a number, margins around it. A
table is looked up within registers. A warp is three shears, each of which moves whole
rows or columns by whole pixels; then every source lies near where it is wanted, and
selects find it. Only the stage that an image drew is computed.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from harma_jax.augment import color, geometry
from harma_jax.augment.geometry import BITS, ONE

# A tile of registers.
_ROWS, _LANES = 8, 128
_DIGITS, _TILE = 16, 16 * _ROWS
# By how many pixels, at most, three shears miss a rotation.
_REACH = 2
# Of the average image, for the compiler's schedule.
_OPERATIONS_A_PIXEL = 80


def margin_of(side: int) -> int:
  """Rows above and below an image, for what two of the three shears move out of it."""
  return _up(side // 7 + 5, _ROWS)


def pack(planes: jax.Array) -> jax.Array:
  """u8[B, 3, side, side] as canvases i32[B, H, W]."""
  side = planes.shape[-1]
  channels = planes.astype(jnp.int32)
  packed = channels[:, 0] | channels[:, 1] << 8 | channels[:, 2] << 16
  above, height = margin_of(side), _up(side, _ROWS)
  below, right = height - side + above, _up(side + 2 * _REACH, _LANES) - side
  return jnp.pad(packed, ((0, 0), (above, below), (0, right)))


def unpack(canvases: jax.Array, *, side: int) -> jax.Array:
  """The images of canvases i32[B, H, W]: u8[B, 3, side, side]."""
  above = margin_of(side)
  packed = canvases[:, above : above + side, :side]
  return jnp.stack([packed >> 8 * i & 255 for i in range(3)], axis=1).astype(jnp.uint8)


@functools.partial(jax.jit, static_argnames=('side', 'interpret'))
def histograms(
  canvases: jax.Array, wanted: jax.Array, *, side: int, interpret: bool = False
) -> jax.Array:
  """Counts the values of every channel; 0 of images that are not wanted.

  Args:
    canvases: i32[B, H, W] of `pack`.
    wanted: i32[B], 0 for no.
    side: pixels of the images.
    interpret: run on any device, slowly.

  Returns:
    i32[B, 3, 256].
  """
  count, *shape = canvases.shape
  counts = pl.pallas_call(
    functools.partial(_count, side=side),
    out_shape=jax.ShapeDtypeStruct((count, 3, _DIGITS, _TILE), jnp.int32),
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=1,
      grid=(count,),
      in_specs=[_of_image(*shape)],
      out_specs=_of_image(3, _DIGITS, _TILE),
      scratch_shapes=[pltpu.VMEM((3, _TILE, _TILE), jnp.float32)],
    ),
    cost_estimate=pl.CostEstimate(
      flops=_OPERATIONS_A_PIXEL * canvases.size,
      bytes_accessed=canvases.nbytes,
      transcendentals=0,
    ),
    interpret=interpret,
    name='histograms',
  )(wanted, canvases)
  return counts.reshape(count, 3, 256, _ROWS).sum(axis=-1)


@functools.partial(jax.jit, static_argnames=('side', 'interpret'))
def operate(
  canvases: jax.Array,
  stages: jax.Array,
  tables: jax.Array,
  factors: jax.Array,
  matrices: jax.Array,
  *,
  side: int,
  interpret: bool = False,
) -> jax.Array:
  """Changes every image by the stage that it drew.

  Args:
    canvases: i32[B, H, W] of `pack`.
    stages: i32[B], 0 for none, 1 table, 2 blend, 3 warp.
    tables: i32[B, 3, 256], see `color.look_up`.
    factors: i32[B], see `color.blend_smooth`.
    matrices: i32[B, 6], see `geometry.warp`: of determinant 1.
    side: pixels of the images.
    interpret: run on any device, slowly.

  Returns:
    i32[B, H, W]; margins are undefined.
  """
  count, height, width = canvases.shape
  shears = jax.vmap(lambda matrix: geometry.shears(_swapped(matrix), side))(matrices)
  return pl.pallas_call(
    functools.partial(_operate, side=side),
    out_shape=jax.ShapeDtypeStruct(canvases.shape, jnp.int32),
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=4,
      grid=(count,),
      in_specs=[_of_image(3, 256), _of_image(height, width)],
      out_specs=_of_image(height, width),
      scratch_shapes=[pltpu.VMEM((height, width), jnp.int32)],
    ),
    cost_estimate=pl.CostEstimate(
      flops=_OPERATIONS_A_PIXEL * canvases.size,
      bytes_accessed=2 * canvases.nbytes,
      transcendentals=0,
    ),
    interpret=interpret,
    name='rand_augment',
  )(stages, factors, matrices.reshape(-1), shears.reshape(-1), tables, canvases)


def _of_image(*shape: int) -> pl.BlockSpec:
  return pl.BlockSpec((None, *shape), lambda i, *_: (i, *[0] * len(shape)))


def _count(wanted, image, counts, sums, *, side):
  """A value is 16 times its row of a table plus its column, as in `color.histogram`.

  Each row of a strip has a table of its own, on the diagonal of a tile's product.
  """
  i = pl.program_id(0)

  @pl.when(wanted[i] == 0)
  def _():
    counts[...] = jnp.zeros_like(counts)

  @pl.when(wanted[i] != 0)
  def _():
    sums[...] = jnp.zeros_like(sums)
    _for_strips(functools.partial(_add, image, sums, side=side), side=side)
    row, column = (_iota((_TILE, _TILE), axis) % _ROWS for axis in (0, 1))
    for channel in range(3):
      found = jnp.where(row == column, sums[channel], 0)
      found = found.reshape(_DIGITS, _ROWS, _TILE).sum(axis=1)
      counts[channel] = found.astype(jnp.int32)


def _add(image, sums, top, *, side):
  strip = image[pl.ds(top, _ROWS), :]
  y, x = _indices(top, strip.shape[1], side=side)
  for channel in range(3):
    values = jnp.where((y < side) & (x < side), strip >> 8 * channel & 255, 256)
    sums[channel] += jax.lax.dot_general(
      _one_hot(values >> 4),
      # What is beyond the image has no high digit.
      _one_hot(values & 15),
      (((1,), (1,)), ((), ())),
      preferred_element_type=jnp.float32,
    )


def _one_hot(digits):
  """bf16[16 * 8, W] of i32[8, W]."""
  parts = [jnp.where(digits == digit, 1.0, 0.0) for digit in range(_DIGITS)]
  return jnp.concatenate(parts, axis=0).astype(jnp.bfloat16)


def _operate(stages, factors, matrices, shears, tables, image, result, moved, *, side):
  i = pl.program_id(0)

  @pl.when(stages[i] == 0)
  def _():
    result[...] = image[...]

  @pl.when(stages[i] == 1)
  def _():
    _in_strips(functools.partial(_look_up, tables, image), result, side=side)

  @pl.when(stages[i] == 2)
  def _():
    blend = functools.partial(_blend, image, factors[i], side=side)
    _in_strips(blend, result, side=side)

  @pl.when(stages[i] == 3)
  def _():
    matrix, shifts = ([of[6 * i + k] for k in range(6)] for of in (matrices, shears))
    first, second, last = (_line(*shifts[k : k + 2]) for k in (0, 2, 4))
    moved[...] = _sheared(image[...], first, second, last, side=side)
    warp = functools.partial(_warp, moved, matrix, first, second, last, side=side)
    _in_strips(warp, result, side=side)


def _in_strips(make: Callable, result, *, side: int) -> None:
  """Writes `make(top)`, a strip of rows from `top` of the canvas on, for all strips."""

  def write(top):
    result[pl.ds(top, _ROWS), :] = make(top)

  _for_strips(write, side=side)


def _for_strips(do: Callable, *, side: int) -> None:
  def of_strip(k, _):
    do(pl.multiple_of(margin_of(side) + k * _ROWS, _ROWS))
    return _

  jax.lax.fori_loop(0, _up(side, _ROWS) // _ROWS, of_strip, 0)


def _look_up(tables, image, top):
  strip = image[pl.ds(top, _ROWS), :]
  parts = [_look_up_tile(tables, strip[:, k : k + _LANES]) for k in _tiles(strip)]
  return jnp.concatenate(parts, axis=1)


def _look_up_tile(tables, packed):
  found = jnp.zeros_like(packed)
  for channel in range(3):
    values = packed >> 8 * channel & 255
    low, high = (
      jnp.take_along_axis(
        jnp.broadcast_to(
          tables[channel : channel + 1, k : k + _LANES], (_ROWS, _LANES)
        ),
        values % _LANES,
        axis=1,
      )
      for k in (0, _LANES)
    )
    found |= jnp.where(values < _LANES, low, high) << 8 * channel
  return found


def _blend(image, factor, top, *, side):
  y, x = _indices(top, image.shape[1], side=side)
  border = (y == 0) | (y == side - 1) | (x == 0) | (x == side - 1)
  near = image[pl.ds(top - _ROWS, 3 * _ROWS), :]

  def channel(i):
    values = near >> 8 * i & 255
    rows = values + _roll(values, 1, 0) + _roll(values, -1, 0)
    total = rows + _roll(rows, 1, 1) + _roll(rows, -1, 1) + 4 * values
    values, total = (each[_ROWS : 2 * _ROWS] for each in (values, total))
    smooth = jnp.where(border, values, color.smoothed(total))
    return color.blended(values, smooth, factor)

  return channel(0) | channel(1) << 8 | channel(2) << 16


def _sheared(canvas, first, second, last, *, side):
  """Moves columns along y, rows along x, and columns along y again."""
  width = canvas.shape[1]
  y = _iota(canvas.shape, 0) - margin_of(side)
  x = _iota(canvas.shape, 1)
  canvas = _moved(canvas, first(x), 0)
  canvas = _moved(canvas, second(y), 1)
  # What left at the left came back at the right.
  return _moved(canvas, last(jnp.where(x < side + _REACH, x, x - width)), 0)


def _moved(canvas, shifts, axis):
  """`canvas` at `index + shifts` along an axis, round its end."""
  length = canvas.shape[axis]
  shifts = jnp.where(shifts < 0, shifts + length, shifts)
  for k in range((length - 1).bit_length()):
    canvas = jnp.where(shifts >> k & 1 == 1, _roll(canvas, -(1 << k), axis), canvas)
  return canvas


def _warp(moved, matrix, first, second, last, top, *, side):
  y, x = _indices(top, moved.shape[1], side=side)
  source_y, source_x = geometry.source(matrix, y, x)
  near = moved[pl.ds(top - _ROWS, 3 * _ROWS), :]
  window = range(-_REACH, _REACH + 1)

  def number(i, j):
    """Of the place in the window where the pixel is that was there in the image."""
    row = jnp.clip((source_y >> BITS) + i, 0, side - 1)
    column = jnp.clip((source_x >> BITS) + j, 0, side - 1)
    row = row - first(column)
    column = column - second(row)
    row = row - last(column)
    return (row - y) * len(window) + column - x

  corners = [(i, j) for i in (0, 1) for j in (0, 1)]
  numbers, found = [number(*corner) for corner in corners], [jnp.zeros_like(y)] * 4
  for j in window:
    beside = _roll(near, -j, 1)
    for i in window:
      pixels = _roll(beside, -i, 0)[_ROWS : 2 * _ROWS]
      found = [
        jnp.where(wanted == i * len(window) + j, pixels, before)
        for wanted, before in zip(numbers, found, strict=True)
      ]

  def channel(i):
    values = [packed >> 8 * i & 255 for packed in found]
    return geometry.blended(values[:2], values[2:], source_y, source_x)

  inside = geometry.within(source_y, side) & geometry.within(source_x, side)
  grey = geometry.FILL * 0x010101
  return jnp.where(inside, channel(0) | channel(1) << 8 | channel(2) << 16, grey)


def _line(slope, offset) -> Callable[[jax.Array], jax.Array]:
  """Whole pixels at an index; both in units of 1 / ONE."""
  return lambda index: (slope * index + offset + ONE // 2) >> BITS


def _swapped(matrix: jax.Array) -> jax.Array:
  """The matrix for y and x in each other's place."""
  return matrix[jnp.asarray([4, 3, 5, 1, 0, 2])]


def _indices(top, width: int, *, side: int) -> tuple[jax.Array, jax.Array]:
  shape = _ROWS, width
  return _iota(shape, 0) + (top - margin_of(side)), _iota(shape, 1)


def _iota(shape, axis):
  return jax.lax.broadcasted_iota(jnp.int32, shape, axis)


def _roll(array, shift, axis):
  return pltpu.roll(array, shift % array.shape[axis], axis)


def _tiles(strip) -> range:
  return range(0, strip.shape[1], _LANES)


def _up(length: int, multiple: int) -> int:
  return -(-length // multiple) * multiple
