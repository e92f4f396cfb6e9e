"""Every operation beside a plain Pillow version of it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from harma_jax.augment.rand_augment import OPERATIONS, one_by_one

LEVELS = (0, 3, 7, 10)
SIDE = 61


def _affine(image, matrix):
  a, b, c, d, e, f = matrix
  # Pillow's coordinates put the centre of pixel 0 at 0.5, not at 0.
  c, f = c + (1 - a - b) / 2, f + (1 - d - e) / 2
  return image.transform(
    image.size,
    Image.Transform.AFFINE,
    (a, b, c, d, e, f),
    resample=Image.Resampling.BILINEAR,
    fillcolor=(128, 128, 128),
  )


def _rotation(degrees, size):
  cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
  x, y = size[0] / 2, size[1] / 2
  return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


SLOW = {
  'Identity': lambda image, level, sign: image,
  'AutoContrast': lambda image, level, sign: ImageOps.autocontrast(image),
  'Equalize': lambda image, level, sign: ImageOps.equalize(image),
  'Brightness': lambda image, level, sign: ImageEnhance.Brightness(image).enhance(
    0.1 + 0.18 * level
  ),
  'Sharpness': lambda image, level, sign: ImageEnhance.Sharpness(image).enhance(
    0.1 + 0.18 * level
  ),
  'ShearX': lambda image, level, sign: _affine(
    image, (1, -sign * 0.03 * level, 0, 0, 1, 0)
  ),
  'ShearY': lambda image, level, sign: _affine(
    image, (1, 0, 0, -sign * 0.03 * level, 1, 0)
  ),
  'TranslateX': lambda image, level, sign: _affine(
    image, (1, 0, sign * level, 0, 1, 0)
  ),
  'TranslateY': lambda image, level, sign: _affine(
    image, (1, 0, 0, 0, 1, sign * level)
  ),
  'Rotate': lambda image, level, sign: _affine(
    image, _rotation(sign * 3 * level, image.size)
  ),
}


@functools.partial(jax.jit, static_argnames='level')
def _apply(planes, operation, negative, *, level):
  draws = jnp.reshape(operation, (1, 1)), jnp.reshape(negative, (1, 1))
  return one_by_one(planes[None], *draws, level=level)[0]


def _fast(name, image, *, level, sign):
  planes = jnp.moveaxis(jnp.asarray(np.asarray(image)), -1, 0)
  result = _apply(planes, OPERATIONS.index(name), sign < 0, level=level)
  assert (result.shape, result.dtype) == (planes.shape, jnp.uint8)
  return np.moveaxis(np.asarray(result), 0, -1).astype(int)


def _off(name, image, *, level, sign):
  slow = np.asarray(SLOW[name](image, level, sign)).astype(int)
  return np.abs(_fast(name, image, level=level, sign=sign) - slow)


def _gradient(size=SIDE):
  """A gradient that spans neither 0 nor 255, in waves, the same in no two channels."""
  y, x = np.mgrid[:size, :size]
  waves = [20 + y + 2 * x // 3, 220 - x - y, 128 + 90 * np.sin(x / 7 + y / 5)]
  return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


@pytest.fixture(scope='module')
def photographs(data_dir):
  paths = sorted((data_dir / 'rsicd').rglob('*.jpg'))[:90:15]
  return [Image.open(path).convert('RGB') for path in paths]


def test_operations_are_those_of_the_released_code():
  assert set(OPERATIONS) == set(SLOW)
  assert OPERATIONS[0] == 'Identity'


@pytest.mark.parametrize('sign', [1, -1])
@pytest.mark.parametrize('level', LEVELS)
@pytest.mark.parametrize('name', OPERATIONS)
def test_operations_are_those_of_pillow(name, level, sign):
  off = _off(name, _gradient(), level=level, sign=sign)
  assert off.mean() < 0.5
  assert (off <= 1).mean() > 0.995


@pytest.mark.parametrize('level', LEVELS)
@pytest.mark.parametrize('name', OPERATIONS)
def test_operations_are_those_of_pillow_on_photographs(photographs, name, level):
  for image in photographs:
    for sign in (1, -1):
      off = _off(name, image, level=level, sign=sign)
      assert off.mean() < 0.5
      assert (off <= 1).mean() > 0.999


@pytest.mark.parametrize('name', ['Identity', 'Equalize', 'Brightness'])
@pytest.mark.parametrize('level', LEVELS)
def test_tables_are_exactly_those_of_pillow(name, level):
  assert _off(name, _gradient(), level=level, sign=1).max() == 0


@pytest.mark.parametrize('name', ['AutoContrast', 'Equalize'])
def test_tables_leave_a_flat_image(name):
  image = Image.new('RGB', (SIDE, SIDE), (0, 90, 255))
  np.testing.assert_array_equal(_fast(name, image, level=7, sign=1), np.asarray(image))


def test_equalize_leaves_an_image_of_few_pixels():
  image = _gradient(size=8)
  np.testing.assert_array_equal(
    _fast('Equalize', image, level=7, sign=1), np.asarray(image)
  )


def test_the_border_is_not_sharpened():
  before = np.asarray(_gradient())
  after = _fast('Sharpness', _gradient(), level=10, sign=1)
  border = np.ones(before.shape, bool)
  border[1:-1, 1:-1] = False
  np.testing.assert_array_equal(after[border], before[border])
  assert (after != before).any()


def _target(name, sign, x, y):
  """Where the point at (x, y) goes at level 7."""
  shear = 0.21 * sign
  if name == 'Rotate':
    # Counter-clockwise, with y downwards.
    turn = complex(math.cos(math.radians(21)), -sign * math.sin(math.radians(21)))
    moved = complex(x - SIDE / 2, y - SIDE / 2) * turn
    return moved.real + SIDE / 2, moved.imag + SIDE / 2
  return {
    'ShearX': (x + shear * y, y),
    'ShearY': (x, y + shear * x),
    'TranslateX': (x - 7 * sign, y),
    'TranslateY': (x, y - 7 * sign),
  }[name]


@pytest.mark.parametrize('sign', [1, -1])
@pytest.mark.parametrize(
  'name', ['ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Rotate']
)
def test_points_move_to_where_they_should(name, sign):
  for x, y in [(20, 24), (40, 18), (31, 37)]:
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[y - 1 : y + 2, x - 1 : x + 2] = 200
    result = _fast(name, Image.fromarray(pixels), level=7, sign=sign)[..., 0]
    result[result == 128] = 0  # The fill.
    i, j = np.mgrid[:SIDE, :SIDE]
    center = [(axis * result).sum() / result.sum() for axis in (j, i)]
    np.testing.assert_allclose(center, _target(name, sign, x, y), atol=0.5)


@pytest.mark.parametrize('sign', [1, -1])
def test_what_comes_from_outside_is_grey(sign):
  result = _fast('TranslateX', Image.new('RGB', (SIDE, SIDE)), level=7, sign=sign)
  grey = np.flatnonzero((result == 128).all((0, 2)))
  expected = np.arange(SIDE - 7, SIDE) if sign > 0 else np.arange(7)
  np.testing.assert_array_equal(grey, expected)
