import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from harma_jax.augment.crop import draw_box, in_float, in_halves, resample

SIZE = 48
resample = functools.partial(
  jax.jit, static_argnames=('side', 'product', 'interpolation')
)(resample)


@functools.partial(jax.jit, static_argnames=('count', 'scale'))
def _draw(size, *, count, scale):
  keys = jax.random.split(jax.random.key(3), count)
  return jax.vmap(lambda key: draw_box(key, size, scale=scale))(keys)


def _boxes(size, *, scale, count=2000):
  """Tops and lefts, heights and widths."""
  drawn = _draw(jnp.asarray(size), count=count, scale=scale)
  return [np.asarray(part) for part in drawn]


def _planes(image):
  return jnp.moveaxis(jnp.asarray(np.asarray(image)), -1, 0)


def _resampled(image, box, *, side, product=in_float):
  left, top, right, bottom = box
  start, size = jnp.asarray([top, left]), jnp.asarray([bottom - top, right - left])
  planes = resample(_planes(image), start, size, side=side, product=product)
  return np.moveaxis(np.asarray(planes), 0, -1).astype(int)


def _slow(image, box, *, side):
  cut = image.crop(box).resize((side, side), Image.Resampling.BICUBIC)
  return np.asarray(cut).astype(int)


def _noise(size=SIZE):
  pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
  return Image.fromarray(pixels)


def _gradient(size=SIZE):
  y, x = np.mgrid[:size, :size] * 255 // (size - 1)
  return Image.fromarray(np.stack([y, x, (x + y) // 2], axis=-1).astype(np.uint8))


BOXES = {
  'whole': (0, 0, 48, 48),
  'enlarged': (5, 9, 16, 25),
  'shrunk at two edges': (7, 0, 48, 44),
  'wide': (1, 20, 47, 30),
  'one pixel': (30, 17, 31, 18),
}


@pytest.mark.parametrize('side', [20, 48, 64])
@pytest.mark.parametrize('box', BOXES.values(), ids=BOXES)
@pytest.mark.parametrize('make', [_noise, _gradient])
def test_resample_is_that_of_pillow(make, box, side):
  image = make()
  off = np.abs(_resampled(image, box, side=side) - _slow(image, box, side=side))
  assert (off <= 1).mean() >= 0.999
  assert (off > 0).mean() < 0.02  # Values half way between two pixels' values.


@pytest.mark.parametrize('side', [5, 48, 64])
@pytest.mark.parametrize('box', BOXES.values(), ids=BOXES)
def test_halves_of_weights_give_the_same_bits(box, side):
  expected = _resampled(_noise(), box, side=side)
  halves = _resampled(_noise(), box, side=side, product=in_halves)
  np.testing.assert_array_equal(halves, expected)


def test_halves_of_weights_add_exactly_at_the_ends_of_their_range():
  """White pixels, weights with the largest rests, the sum as large as a crop's is."""
  weights = np.zeros((3, 300), np.int32)
  weights[0, :] = 127, *[-128, 128] * 149, 0
  weights[1, :4] = -2048 - 128, 36_863, 127, -2047
  weights[2, :] = 139
  product = functools.partial(in_halves, 'chw,ow->cho', np.full((1, 1, 300), 255))
  expected = 255 * weights.sum(axis=1) / 2**15
  np.testing.assert_array_equal(product(jnp.asarray(weights))[0, 0], expected)


@pytest.mark.parametrize(
  'box', [(0, 0, 224, 224), (10, 20, 200, 180), (3, 5, 50, 60), (100, 7, 224, 90)]
)
def test_resample_is_that_of_pillow_on_photographs(data_dir, box):
  for path in sorted((data_dir / 'rsicd').rglob('*.jpg'))[:60:12]:
    image = Image.open(path).convert('RGB')
    off = np.abs(_resampled(image, box, side=224) - _slow(image, box, side=224))
    assert (off <= 1).mean() >= 0.999
    assert (off > 0).mean() < 0.01


@pytest.mark.parametrize('side', [20, 64])
@pytest.mark.parametrize('box', BOXES.values(), ids=BOXES)
def test_bilinear_is_that_of_pillow(box, side):
  image = _noise()
  left, top, right, bottom = box
  found = resample(
    _planes(image),
    jnp.asarray([top, left]),
    jnp.asarray([bottom - top, right - left]),
    side=side,
    product=in_float,
    interpolation='bilinear',
  )
  expected = image.crop(box).resize((side, side), Image.Resampling.BILINEAR)
  off = np.abs(np.moveaxis(np.asarray(found, int), 0, -1) - np.asarray(expected, int))
  assert off.max() <= 1
  # Its weights are simple fractions: more values lie half way between two.
  assert (off > 0).mean() < 0.04


def test_a_box_of_the_target_size_is_copied():
  expected = np.asarray(_noise())[4:24, 10:30]
  np.testing.assert_array_equal(
    _resampled(_noise(), (10, 4, 30, 24), side=20), expected
  )


def test_a_flat_image_stays_flat():
  image = Image.new('RGB', (SIZE, SIZE), (255, 1, 130))
  expected = np.broadcast_to([255, 1, 130], (31, 31, 3))
  np.testing.assert_array_equal(_resampled(image, (3, 4, 40, 37), side=31), expected)


def test_what_lies_outside_of_the_box_has_no_effect():
  box = (10, 12, 31, 40)
  changed = np.full((SIZE, SIZE, 3), 255, np.uint8)
  changed[12:40, 10:31] = np.asarray(_noise())[12:40, 10:31]
  np.testing.assert_array_equal(
    _resampled(Image.fromarray(changed), box, side=16),
    _resampled(_noise(), box, side=16),
  )


@pytest.mark.parametrize('size', [(64, 64), (40, 90), (90, 40), (7, 9)])
def test_boxes_lie_in_the_image(size):
  start, box = _boxes(size, scale=(0.3, 1.0))
  assert (start >= 0).all()
  assert (box >= 1).all()
  assert (start + box <= size).all()


def test_areas_are_uniform_and_ratios_log_uniform():
  _, box = _boxes((1000, 1000), scale=(0.2, 0.6), count=4000)
  areas, ratios = box.prod(1) / 1e6, np.log(box[:, 1] / box[:, 0])
  tenths = np.histogram(areas, 10, (0.2, 0.6))[0] / len(areas)
  np.testing.assert_allclose(tenths, 0.1, atol=0.025)
  bounds = np.log(4 / 3) * 1.01
  tenths = np.histogram(ratios, 10, (-bounds, bounds))[0] / len(ratios)
  np.testing.assert_allclose(tenths, 0.1, atol=0.025)


def test_boxes_reach_all_four_edges_and_are_spread_evenly():
  start, box = _boxes((32, 32), scale=(0.5, 0.5), count=4000)
  np.testing.assert_array_equal(start.min(0), [0, 0])
  np.testing.assert_array_equal((start + box).max(0), [32, 32])
  np.testing.assert_allclose((start + box / 2).mean(0), [16, 16], atol=0.15)


@pytest.mark.parametrize(
  ('size', 'start', 'box'),
  [((10, 100), (0, 43), (10, 13)), ((100, 10), (43, 0), (13, 10))],
)
def test_a_box_that_never_fits_is_the_largest_centred_one(size, start, box):
  starts, boxes = _boxes(size, scale=(1.0, 1.0), count=5)
  assert (starts == start).all()
  assert (boxes == box).all()


def test_the_first_box_that_fits_is_taken():
  """As a loop over the same numbers finds it."""
  size, found = (60, 80), []
  keys = jax.random.split(jax.random.key(3), 200)
  uniform = jax.vmap(lambda key: jax.random.uniform(key, (10, 4)))
  for tries in np.asarray(uniform(keys)).tolist():
    for area, ratio, y, x in tries:
      area = size[0] * size[1] * (0.8 + 0.2 * area)
      ratio = math.exp(math.log(3 / 4) + ratio * (math.log(4 / 3) - math.log(3 / 4)))
      h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
      if h <= size[0] and w <= size[1]:
        found.append((int(y * (61 - h)), int(x * (81 - w)), h, w))
        break
    else:
      found.append((0, 0, 60, 80))
  start, box = _boxes(size, scale=(0.8, 1.0), count=200)
  same = (np.concatenate([start, box], axis=1) == found).all(1)
  assert same.mean() > 0.98  # f32 rounds a few halves otherwise than float does.
