import collections
import math

import numpy as np
import pytest
from PIL import Image

from harma_jax.data import augment as augment_module
from harma_jax.data.augment import (
  FILL,
  OPERATIONS,
  apply_random_operations,
  augment,
  crop_box,
)

FACTOR = 1.36  # At level 7 of 10.


def _noise(height=24, width=32, seed=0):
  pixels = np.random.default_rng(seed).integers(40, 200, (height, width, 3), np.uint8)
  return Image.fromarray(pixels)


def _smooth(height=48, width=64):
  """Slow waves: one pixel's step changes a value by less than 8."""
  y, x = np.mgrid[:height, :width]
  waves = [np.sin(x / 9 + y / 13 + phase) for phase in range(3)]
  return Image.fromarray((128 + 64 * np.stack(waves, -1)).astype(np.uint8))


def _apply(name, image, sign=1, level=7):
  return np.asarray(OPERATIONS[name](image, level, sign)).astype(int)


def test_operations_are_those_of_the_released_code():
  assert set(OPERATIONS) == {
    *('Identity', 'AutoContrast', 'Equalize', 'Brightness', 'Sharpness'),
    *('ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Rotate'),
  }


@pytest.mark.parametrize('name', OPERATIONS)
def test_operations_keep_size_mode_and_their_input(name):
  image = _noise()
  before = image.tobytes()
  result = OPERATIONS[name](image, 7, 1)
  assert (result.size, result.mode) == (image.size, 'RGB')
  assert image.tobytes() == before


def test_identity_changes_nothing():
  np.testing.assert_array_equal(_apply('Identity', _noise()), np.asarray(_noise()))


def test_auto_contrast_matches_the_formula():
  pixels = np.asarray(_noise()).astype(float)
  for channel in range(3):
    x = pixels[..., channel]
    expected = (x - x.min()) * 255 / (x.max() - x.min())
    actual = _apply('AutoContrast', _noise())[..., channel]
    assert (actual.min(), actual.max()) == (0, 255)
    np.testing.assert_allclose(actual, expected, atol=1)


def test_auto_contrast_leaves_a_flat_image():
  image = Image.new('RGB', (8, 8), (7, 90, 200))
  np.testing.assert_array_equal(_apply('AutoContrast', image), np.asarray(image))


def _equalized(channel):
  counts = collections.Counter(channel.ravel().tolist())
  step = (channel.size - counts[max(counts)]) // 255
  table, below = {}, step // 2
  for value in range(256):
    table[value] = min(below // step, 255)
    below += counts[value]
  return np.vectorize(table.get)(channel)


def test_equalize_matches_a_loop():
  image = _noise(height=64, width=64)
  for channel in range(3):
    expected = _equalized(np.asarray(image)[..., channel])
    np.testing.assert_array_equal(_apply('Equalize', image)[..., channel], expected)


def test_brightness_matches_the_formula():
  expected = np.minimum(np.asarray(_noise()) * FACTOR, 255)
  assert expected.max() == 255
  np.testing.assert_allclose(_apply('Brightness', _noise()), expected, atol=1)


def test_sharpness_matches_a_loop():
  x = np.asarray(_noise()).astype(float)
  kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
  expected = x.copy()
  for i in range(1, x.shape[0] - 1):
    for j in range(1, x.shape[1] - 1):
      window = x[i - 1 : i + 2, j - 1 : j + 2]
      smooth = np.round((window * kernel[..., None]).sum((0, 1)))
      expected[i, j] = smooth + FACTOR * (x[i, j] - smooth)
  expected = np.clip(expected, 0, 255)
  np.testing.assert_allclose(_apply('Sharpness', _noise()), expected, atol=1)


def _sources(name, sign, x, y, size):
  """Where the pixel at index (x, y) comes from, by the released code's matrices."""
  if name == 'ShearX':
    return x - sign * 0.21 * y, y
  if name == 'ShearY':
    return x, y - sign * 0.21 * x
  if name == 'TranslateX':
    return x + sign * 7, y
  if name == 'TranslateY':
    return x, y + sign * 7
  angle, cx, cy = math.radians(sign * 21), size[0] / 2, size[1] / 2
  u, v = x - cx, y - cy
  return (
    cx + math.cos(angle) * u - math.sin(angle) * v,
    cy + math.sin(angle) * u + math.cos(angle) * v,
  )


def _bilinear(pixels, x, y):
  i, j = math.floor(y), math.floor(x)
  dy, dx = y - i, x - j
  rows = pixels[i : i + 2, j : j + 2].astype(float)
  top, bottom = (1 - dx) * rows[:, 0] + dx * rows[:, -1]
  return (1 - dy) * top + dy * bottom if dy else top


@pytest.mark.parametrize('sign', [-1, 1])
@pytest.mark.parametrize(
  'name', ['ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Rotate']
)
def test_geometry_matches_a_loop(name, sign):
  image = _smooth()
  pixels, actual = np.asarray(image), _apply(name, image, sign)
  inside = outside = 0
  for j, i in np.ndindex(image.size):
    x, y = _sources(name, sign, j, i, image.size)
    if 1 <= x < image.width - 2 and 1 <= y < image.height - 2:
      np.testing.assert_allclose(actual[i, j], _bilinear(pixels, x, y), atol=2)
      inside += 1
    elif not (-1 <= x <= image.width and -1 <= y <= image.height):
      assert tuple(actual[i, j]) == FILL
      outside += 1
  assert inside > 1000
  assert outside > 100


def test_level_scales_the_geometry():
  image = _smooth()
  np.testing.assert_array_equal(
    _apply('TranslateX', image, level=3)[:, :-3], np.asarray(image)[:, 3:]
  )
  np.testing.assert_array_equal(_apply('Rotate', image, level=0), np.asarray(image))


def test_crop_boxes_have_the_area_and_ratio_of_torchvision():
  rng = np.random.default_rng(0)
  size = (400, 300)
  boxes = np.array([crop_box(size, rng, scale=(0.5, 0.6)) for _ in range(3000)])
  width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
  assert boxes.min() >= 0
  assert (boxes[:, 2] <= 400).all()
  assert (boxes[:, 3] <= 300).all()
  area, ratio = width * height / (400 * 300), width / height
  assert 0.495 < area.min() < 0.505
  assert 0.595 < area.max() < 0.605
  assert area.mean() == pytest.approx(0.55, abs=0.002)
  assert 0.74 < ratio.min() < 0.78
  assert 1.30 < ratio.max() < 1.35
  # Log-uniform and all ratios fit into 4:3, thus as often below one as above.
  assert np.log(ratio).mean() == pytest.approx(0, abs=0.02)


def test_crop_positions_reach_all_four_edges():
  rng = np.random.default_rng(0)
  boxes = np.array([crop_box((32, 32), rng, scale=(0.5, 0.5)) for _ in range(2000)])
  np.testing.assert_array_equal(boxes.min(0)[:2], [0, 0])
  np.testing.assert_array_equal(boxes.max(0)[2:], [32, 32])


@pytest.mark.parametrize(
  ('size', 'box'),
  [
    ((100, 10), (43, 0, 56, 10)),
    ((10, 100), (0, 43, 10, 56)),
  ],
)
def test_a_crop_that_never_fits_is_the_largest_centred_one(size, box):
  assert crop_box(size, np.random.default_rng(0), scale=(1.0, 1.0)) == box


def test_crop_equals_cutting_out_first():
  image, rng = _noise(), np.random.default_rng(1)
  box = crop_box(image.size, np.random.default_rng(1), scale=(0.5, 1.0))
  cut = Image.fromarray(np.asarray(image)[box[1] : box[3], box[0] : box[2]])
  expected = cut.resize((16, 16), Image.Resampling.BICUBIC)
  actual = augment(image, rng, side=16, flip=False, rand_augment=(0, 0))
  np.testing.assert_array_equal(actual, expected)


def _whole(image, seed, **options):
  """Without a crop: scale 1 of a square image always ends in the fallback or fits."""
  rng = np.random.default_rng(seed)
  options = {'crop_scale': (1.0, 1.0), 'rand_augment': (0, 0)} | options
  return augment(image, rng, side=image.width, **options)


def _corners(pixels):
  """Which quarter is bright: top left, top right, bottom left, bottom right."""
  half = len(pixels) // 2
  quarters = pixels[:half, :half], pixels[:half, half:], pixels[half:, :half]
  return int(np.argmax([*(q.mean() for q in quarters), pixels[half:, half:].mean()]))


def _marked():
  pixels = np.zeros((16, 16, 3), np.uint8)
  pixels[:8, :8] = 255
  return Image.fromarray(pixels)


def test_half_of_the_images_are_mirrored():
  corners = [_corners(_whole(_marked(), seed)) for seed in range(800)]
  assert set(corners) == {0, 1}
  assert np.mean(corners) == pytest.approx(0.5, abs=0.07)
  assert {_corners(_whole(_marked(), seed, flip=False)) for seed in range(50)} == {0}


def test_quarter_turns_are_equally_likely():
  turned = {'flip': False, 'quarter_turns': True}
  counts = collections.Counter(
    _corners(_whole(_marked(), seed, **turned)) for seed in range(800)
  )
  assert len(counts) == 4
  assert all(count == pytest.approx(200, abs=60) for count in counts.values())


def test_operations_are_drawn_with_replacement_and_applied_half_the_time(monkeypatch):
  calls = []
  spies = {
    name: lambda image, level, sign, name=name: (
      calls.append((name, level, sign)) or image
    )
    for name in OPERATIONS
  }
  monkeypatch.setattr(augment_module, 'OPERATIONS', spies)
  lengths, repeated, rng = [], 0, np.random.default_rng(0)
  for _ in range(4000):
    start = len(calls)
    apply_random_operations(_noise(2, 2), rng, count=2, level=7)
    names = [call[0] for call in calls[start:]]
    lengths.append(len(names))
    repeated += len(names) == 2 and names[0] == names[1]
  shares = np.bincount(lengths, minlength=3) / 4000
  np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.03)
  counts = collections.Counter(call[0] for call in calls)
  assert all(counts[name] == pytest.approx(400, abs=90) for name in OPERATIONS)
  assert repeated == pytest.approx(100, abs=45)
  assert {call[1] for call in calls} == {7}
  assert np.mean([call[2] for call in calls]) == pytest.approx(0, abs=0.05)


def test_result_is_a_function_of_image_and_rng():
  image = _noise(40, 30)
  options = {'side': 16, 'quarter_turns': True}
  first = augment(image, np.random.default_rng(5), **options)
  again = augment(image, np.random.default_rng(5), **options)
  other = augment(image, np.random.default_rng(6), **options)
  assert (first.shape, first.dtype) == ((16, 16, 3), np.uint8)
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


def test_a_single_pixel_can_be_augmented():
  image = Image.new('RGB', (1, 1), (9, 8, 7))
  result = augment(image, np.random.default_rng(0), side=4, rand_augment=(0, 0))
  np.testing.assert_array_equal(result, np.full((4, 4, 3), (9, 8, 7)))
