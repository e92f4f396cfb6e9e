import io
import json

import jax
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from harma_jax.data.images import (
  CLIP_MEAN,
  CLIP_STD,
  decode_image,
  normalize,
  read_image,
  read_size,
  resize_for_evaluation,
)
from harma_jax.errors import UserError
from harma_jax.raster.how import How


def _pixels(*shape, dtype=np.uint8, seed=0):
  high = np.iinfo(dtype).max + 1
  return np.random.default_rng(seed).integers(0, high, shape, dtype)


def _saved(path, pixels, mode=None, **options):
  image = Image.fromarray(pixels)
  (image.convert(mode) if mode else image).save(path, **options)
  return path


@pytest.mark.parametrize('suffix', ['png', 'tif', 'jpg'])
def test_reads_rgb_files_as_pillow_does(tmp_path, suffix):
  path = _saved(tmp_path / f'a.{suffix}', _pixels(11, 17, 3))
  image = read_image(path)
  assert (image.mode, image.size) == ('RGB', (17, 11))
  np.testing.assert_array_equal(image, Image.open(path).convert('RGB'))


def test_lossless_files_keep_their_pixels(tmp_path):
  pixels = _pixels(11, 17, 3)
  for name in ('a.png', 'a.tif'):
    np.testing.assert_array_equal(read_image(_saved(tmp_path / name, pixels)), pixels)


@pytest.mark.parametrize('mode', ['L', '1', 'P', 'RGBA', 'LA'])
def test_other_modes_become_rgb(tmp_path, mode):
  path = _saved(tmp_path / 'a.png', _pixels(11, 17, 3), mode)
  np.testing.assert_array_equal(read_image(path), Image.open(path).convert('RGB'))


def test_cmyk_becomes_rgb(tmp_path):
  path = _saved(tmp_path / 'a.jpg', _pixels(11, 17, 3), 'CMYK')
  np.testing.assert_array_equal(read_image(path), Image.open(path).convert('RGB'))


def test_alpha_is_dropped_and_not_blended(tmp_path):
  pixels = _pixels(11, 17, 4)
  image = read_image(_saved(tmp_path / 'a.png', pixels))
  np.testing.assert_array_equal(image, pixels[..., :3])


@pytest.mark.filterwarnings('error')
def test_transparent_palette_keeps_its_colours(tmp_path):
  path = _saved(
    tmp_path / 'a.png', _pixels(11, 17, 3), 'P', transparency=bytes(range(256))
  )
  expected = Image.open(path)
  colours = np.asarray(expected.getpalette('RGB')).reshape(-1, 3)
  np.testing.assert_array_equal(read_image(path), colours[np.asarray(expected)])


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path, suffix):
  pixels = _pixels(11, 17, dtype=np.uint16)
  pixels[0, :2] = 0, 65535
  path = _saved(tmp_path / f'a.{suffix}', pixels)
  image = read_image(path, how=How(stretch='none'))
  expected = np.round(pixels / 65535 * 255).astype(np.uint8)
  np.testing.assert_array_equal(image, np.stack([expected] * 3, axis=-1))


# How a viewer turns the stored pixels, by orientation (EXIF 2.32, tag 0x0112).
UPRIGHT = {
  1: lambda pixels: pixels,
  2: lambda pixels: pixels[:, ::-1],
  3: lambda pixels: pixels[::-1, ::-1],
  4: lambda pixels: pixels[::-1],
  5: lambda pixels: pixels.transpose(1, 0, 2),
  6: lambda pixels: pixels.transpose(1, 0, 2)[:, ::-1],
  7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
  8: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif', 'webp'])
@pytest.mark.parametrize('orientation', UPRIGHT)
def test_orientation_is_applied_once(tmp_path, suffix, orientation):
  pixels = _pixels(11, 17, 3)
  stored = read_image(_saved(tmp_path / f'plain.{suffix}', pixels))
  exif = Image.Exif()
  exif[0x0112] = orientation
  path = _saved(tmp_path / f'turned.{suffix}', pixels, exif=exif)
  image = read_image(path)
  np.testing.assert_array_equal(image, UPRIGHT[orientation](np.asarray(stored)))
  assert read_size(path) == image.size


def test_orientation_of_16_bit_grey_is_applied(tmp_path):
  pixels = _pixels(11, 17, dtype=np.uint16)
  exif = Image.Exif()
  exif[0x0112] = 6
  plain = read_image(_saved(tmp_path / 'plain.png', pixels))
  turned = read_image(_saved(tmp_path / 'turned.png', pixels, exif=exif))
  np.testing.assert_array_equal(turned, UPRIGHT[6](np.asarray(plain)))


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'tif', 'bmp', 'webp', 'jp2'])
def test_pixels_are_limited(tmp_path, suffix):
  path = _saved(tmp_path / f'a.{suffix}', _pixels(11, 17, 3))
  assert read_image(path, max_pixels=11 * 17).size == (17, 11)
  with pytest.raises(UserError, match=r'17 x 11 pixels, more than .* 186; .*tiles'):
    read_image(path, max_pixels=11 * 17 - 1)
  assert read_size(path, max_pixels=11 * 17) == (17, 11)
  with pytest.raises(UserError, match=r'17 x 11 pixels, more than .* 186; .*tiles'):
    read_size(path, max_pixels=11 * 17 - 1)


def test_nothing_is_decoded_beyond_the_limit(tmp_path, monkeypatch):
  path = _saved(tmp_path / 'a.tif', _pixels(11, 17, 3))
  monkeypatch.setattr(TiffImageFile, 'load', lambda _: pytest.fail('decoded'))
  with pytest.raises(UserError, match='tiles'):
    read_image(path, max_pixels=1)


def test_open_files_are_decoded_and_stay_open(tmp_path):
  path = _saved(tmp_path / 'a.png', _pixels(11, 17, 3))
  file = io.BytesIO(path.read_bytes())
  np.testing.assert_array_equal(decode_image(file, name='b.png'), read_image(path))
  assert not file.closed


def test_messages_about_open_files_use_the_given_name():
  with pytest.raises(
    UserError, match=r'^part 3: expected .* Replace the file'
  ) as caught:
    decode_image(io.BytesIO(b'no image'), name='part 3')
  assert isinstance(caught.value.__cause__, UnidentifiedImageError)


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'tif'])
def test_truncated_file_is_the_users_mistake(tmp_path, suffix):
  path = _saved(tmp_path / f'a.{suffix}', _pixels(64, 64, 3))
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with pytest.raises(UserError, match=rf'a\.{suffix}: expected a readable image'):
    read_image(path)


def test_foreign_and_missing_files_are_the_users_mistakes(tmp_path):
  (tmp_path / 'text.jpg').write_text('no image')
  (tmp_path / 'empty.jpg').write_bytes(b'')
  for name in ('text.jpg', 'empty.jpg', 'missing.jpg'):
    with pytest.raises(UserError, match=rf'{name}: expected .* Replace the file'):
      read_image(tmp_path / name)


def test_evaluation_resize_keeps_the_whole_image():
  # Columns darken from left to right: with a crop, the ends would be cut off.
  pixels = np.broadcast_to(np.linspace(255, 0, 80)[None, :, None], (40, 80, 3))
  small = resize_for_evaluation(Image.fromarray(pixels.astype(np.uint8)), side=8)
  assert (small.shape, small.dtype) == ((8, 8, 3), np.uint8)
  centres = np.linspace(255, 0, 80).reshape(8, 10).mean(1)
  np.testing.assert_allclose(small[0, 1:-1, 0], centres[1:-1], atol=2)


def _cubic_weights(size, side):
  """Antialiased Keys cubic, a = -0.5: f64[side, size], rows sum to one."""
  scale = size / side
  centres = (np.arange(side) + 0.5) * scale
  x = np.abs(np.arange(size) + 0.5 - centres[:, None]) / max(scale, 1)
  near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * (x**3 - 5 * x**2 + 8 * x - 4)
  weights = np.where(x < 1, near, np.where(x < 2, far, 0))
  return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize('side', [12, 48])
def test_evaluation_resize_matches_the_formula(side):
  # Grey enough that Pillow clips nothing between its two passes.
  pixels = 96 + _pixels(30, 20, 3) // 4
  expected = np.einsum(
    'ih,jw,hwc->ijc', _cubic_weights(30, side), _cubic_weights(20, side), pixels
  )
  actual = resize_for_evaluation(Image.fromarray(pixels), side=side)
  np.testing.assert_allclose(actual, expected, atol=1.5)  # Rounded to 8 bits twice.


def test_normalize_matches_a_loop():
  images = _pixels(2, 3, 4, 3)
  actual = np.asarray(jax.jit(normalize)(images))
  assert (actual.shape, actual.dtype) == ((2, 3, 4, 3), np.float32)
  for index in np.ndindex(images.shape):
    expected = (images[index] / 255 - CLIP_MEAN[index[3]]) / CLIP_STD[index[3]]
    assert actual[index] == pytest.approx(expected, abs=1e-5)


@pytest.fixture(name='protocol', scope='module')
def _protocol(reference_dir):
  with np.load(reference_dir / 'protocol.npz') as arrays:
    names = [key for key in arrays.files if key.startswith('eval_image')]
    return {key: arrays[key] for key in names}


def _evaluation_images(protocol, data_dir, side):
  names = json.loads(str(protocol['eval_image_names']))
  folder = data_dir / 'rsicd' / 'images'
  return np.stack(
    [resize_for_evaluation(read_image(folder / name), side=side) for name in names]
  )


def test_evaluation_resize_agrees_with_the_original(protocol, data_dir):
  expected = protocol['eval_images_288_uint8_nchw']
  actual = _evaluation_images(protocol, data_dir, side=288)[: len(expected)]
  np.testing.assert_allclose(
    actual.transpose(0, 3, 1, 2).astype(int), expected.astype(int), atol=1
  )


def test_evaluation_transform_agrees_with_the_original(protocol, data_dir):
  expected = protocol['eval_images_64_nchw']
  actual = normalize(_evaluation_images(protocol, data_dir, side=64))
  std = np.asarray(CLIP_STD)[:, None, None]
  difference = np.asarray(actual).transpose(0, 3, 1, 2) - expected
  assert np.abs(difference * std).max() <= 1 / 255
