"""The resize on devices beside Pillow's."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image

from harma_jax.data.images import resize_for_evaluation
from harma_jax.devices.mesh import batch_sharding, make_mesh
from harma_jax.evaluation.resize import LARGEST, is_for_devices, resize, weights


def pictures(height, width, *, count=6):
  """u8[count, H, W, 3]: noise, noise of black and white, boards, lines and a ramp."""
  rng = np.random.default_rng(height * width)
  found = rng.integers(0, 256, (count, height, width, 3)).astype(np.uint8)
  y, x = np.mgrid[:height, :width]
  found[1] = found[1] // 128 * 255
  found[2] = (((y + x) % 2) * 255)[..., None]
  found[3] = ((x // 2 % 2) * 255)[..., None]
  found[4] = 255
  found[5] = (x * 255 // max(width - 1, 1))[..., None]
  return found


def by_pillow(images, *, side):
  resized = [resize_for_evaluation(Image.fromarray(i), side=side) for i in images]
  return np.stack(resized)


@pytest.mark.parametrize(
  ('height', 'width', 'side'),
  [
    (256, 256, 224),
    (512, 512, 224),
    (224, 224, 224),
    (100, 100, 224),
    (384, 384, 336),
    (20, 31, 48),
    (17, 70, 28),
    (48, 120, 48),
    (1, 1, 8),
    (1, 40, 16),
    (3, 5, 1),
    (37, 37, 36),
    (36, 36, 37),
    (59, 61, 6),
  ],
)
def test_the_bits_are_those_of_pillow(height, width, side):
  images = pictures(height, width)
  found = jax.jit(resize, static_argnames='side')(images, side=side)
  np.testing.assert_array_equal(found, by_pillow(images, side=side))


@pytest.mark.parametrize('side', [48, 224])
def test_bilinear_bits_are_those_of_pillow(side):
  images, how = pictures(100, 130), {'side': side, 'interpolation': 'bilinear'}
  found = jax.jit(functools.partial(resize, **how))(images)
  expected = [resize_for_evaluation(Image.fromarray(i), **how) for i in images]
  np.testing.assert_array_equal(found, np.stack(expected))
  assert np.any(found != by_pillow(images, side=side))


@pytest.mark.parametrize('devices', [1, 8])
def test_devices_resize_their_own_rows(devices):
  rows = batch_sharding(make_mesh(devices=jax.devices()[:devices]))
  images = pictures(32, 32, count=8)
  program = jax.jit(
    functools.partial(resize, side=28), in_shardings=rows, out_shardings=rows
  )
  compiled = program.lower(images).compile()
  text = compiled.as_text()
  assert not any(word in text for word in ('all-gather', 'all-reduce', 'all-to-all'))
  np.testing.assert_array_equal(compiled(images), by_pillow(images, side=28))


@pytest.mark.parametrize('scale', [0.1, 0.9, 1, 8 / 7, 2, LARGEST])
def test_weights_are_few_and_their_sums_fit_in_32_bits(scale):
  found = weights(round(224 * scale), side=224).astype(np.int64)
  assert (found != 0).sum(axis=1).max() <= 11
  assert 255 * abs(found).sum(axis=1).max() + 2**21 < 2**31
  np.testing.assert_allclose(found.sum(axis=1), 2**22, atol=8)


def test_where_tiles_are_resized():
  on = functools.partial(is_for_devices, side=224)
  assert [on(256, platform=name) for name in ('tpu', 'gpu', 'cpu')] == [1, 1, 0]
  assert [on(length, platform='tpu') for length in (0, 560, 561)] == [0, 1, 0]
