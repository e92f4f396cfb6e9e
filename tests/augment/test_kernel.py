"""The kernel, interpreted, beside the plain form of each of its stages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.augment import color, geometry, kernel
from harma_jax.augment.geometry import MATRICES, in_units

LEVELS = (0, 0.5, 1, 3, 7, 10)
SIDES = (8, 37, 64)
TABLE, BLEND, WARP = 1, 2, 3


def _images(side, *, count):
  pixels = np.random.default_rng(side).integers(0, 256, (count, 3, side, side))
  return jnp.asarray(pixels.astype(np.uint8))


def _operated(images, stages, *, tables=None, factors=None, matrices=None):
  n, _, side, _ = images.shape
  made = {
    'tables': jnp.zeros((n, 3, 256), jnp.int32) if tables is None else tables,
    'factors': jnp.zeros(n, jnp.int32) if factors is None else factors,
    'matrices': jnp.zeros((n, 6), jnp.int32) if matrices is None else matrices,
  }
  stages = jnp.broadcast_to(jnp.asarray(stages, jnp.int32), n)
  canvases = kernel.pack(images)
  result = kernel.operate(canvases, stages, **made, side=side, interpret=True)
  return kernel.unpack(result, side=side)


@pytest.mark.parametrize('side', [1, 8, 37, 224])
def test_a_canvas_holds_an_image(side):
  images = _images(side, count=2)
  canvases = kernel.pack(images)
  assert canvases.shape[1] % 8 == 0
  assert canvases.shape[2] % 128 == 0
  np.testing.assert_array_equal(kernel.unpack(canvases, side=side), images)


@pytest.mark.parametrize('side', SIDES)
def test_every_warp_is_that_of_gathered_pixels(side):
  """All operations that move pixels, at all strengths, both ways."""
  matrices = jnp.asarray(
    np.stack(
      [
        in_units(make(level, sign, side))
        for make in MATRICES.values()
        for level in LEVELS
        for sign in (1, -1)
      ]
    )
  )
  images = _images(side, count=len(matrices))
  expected = jax.jit(jax.vmap(geometry.warp))(images, matrices)
  np.testing.assert_array_equal(_operated(images, WARP, matrices=matrices), expected)


@pytest.mark.parametrize('side', [16, 61, 224, 336, 384])
@pytest.mark.parametrize('level', [1, 4, 7, 9, 10])
def test_three_shears_miss_a_pixel_by_no_more_than_is_searched(level, side):
  """Where pixels go, in whole numbers: nearer than a strip and the kernel's window."""
  for make in MATRICES.values():
    for sign in (1, -1):
      matrix = in_units(make(level, sign, side))
      for corner in np.ndindex(2, 2):
        row, y_off, x_off = _missed(matrix, side, corner)
        assert np.abs(row - side / 2).max() < side / 2 + kernel.margin_of(side)
        assert np.abs(y_off).max() <= 2
        assert np.abs(x_off).max() <= 2


def _missed(matrix, side, corner):
  """The row that the pixels are in between, and by how much y and x are missed."""
  y, x = np.mgrid[:side, :side]
  source_y, source_x = geometry.source(matrix.astype(np.int64), y, x)
  inside = geometry.within(source_y, side) & geometry.within(source_x, side)
  swapped = jnp.asarray(matrix[[4, 3, 5, 1, 0, 2]])
  lines = np.asarray(geometry.shears(swapped, side), np.int64).reshape(3, 2)
  row = np.clip((source_y >> 16) + corner[0], 0, side - 1)
  column = np.clip((source_x >> 16) + corner[1], 0, side - 1)

  def shift(line, index):
    return (line[0] * index + line[1] + 2**15) >> 16

  between = row - shift(lines[0], column)
  column = column - shift(lines[1], between)
  row = between - shift(lines[2], column)
  return [part[inside] for part in (between, row - y, column - x)]


@pytest.mark.parametrize('side', SIDES)
def test_tables_are_looked_up(side):
  images = _images(side, count=3)
  tables = np.random.default_rng(1).integers(0, 256, (3, 3, 256)).astype(np.int32)
  expected = jax.vmap(jax.vmap(color.look_up))(images, jnp.asarray(tables))
  np.testing.assert_array_equal(_operated(images, TABLE, tables=tables), expected)


@pytest.mark.parametrize('side', SIDES)
def test_images_are_blended(side):
  factors = jnp.asarray([round(color.blend_factor(k) * color.ONE) for k in LEVELS])
  images = _images(side, count=len(LEVELS))
  blend = jax.vmap(jax.vmap(color.blend_smooth, in_axes=(0, None)))
  actual = _operated(images, BLEND, factors=factors)
  np.testing.assert_array_equal(actual, blend(images, factors))


def test_an_image_goes_through_the_stage_that_it_drew():
  images = _images(16, count=4)
  matrix = jnp.asarray(in_units(MATRICES['Rotate'](7, 1, 16)))
  result = _operated(
    images,
    range(4),
    tables=jnp.full((4, 3, 256), 9, jnp.int32),
    factors=jnp.zeros(4, jnp.int32),
    matrices=jnp.broadcast_to(matrix, (4, 6)),
  )
  np.testing.assert_array_equal(result[0], images[0])
  np.testing.assert_array_equal(result[1], np.full_like(images[1], 9))
  smooth = jax.vmap(functools.partial(color.blend_smooth, factor=0))(images[2])
  np.testing.assert_array_equal(result[2], smooth)
  np.testing.assert_array_equal(result[3], geometry.warp(images[3], matrix))


@pytest.mark.parametrize('side', SIDES)
def test_values_are_counted_where_that_is_wanted(side):
  images = _images(side, count=2)
  canvases, wanted = kernel.pack(images), jnp.asarray([0, 1])
  counts = kernel.histograms(canvases, wanted, side=side, interpret=True)
  expected = [np.bincount(plane.ravel(), minlength=256) for plane in images[1]]
  np.testing.assert_array_equal(counts[1], expected)
  assert not counts[0].any()
