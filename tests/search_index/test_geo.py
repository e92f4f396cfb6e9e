"""TIFF scenes window by window, beside the whole file read at once."""

import numpy as np
import pytest
from PIL import Image

from harma_jax.errors import UserError
from harma_jax.search_index import geo

rasterio = pytest.importorskip('rasterio')

BOXES = np.array([[0, 0, 16, 16], [24, 9, 16, 16], [3, 5, 7, 4]], np.int32)


@pytest.fixture
def write_tiff(tmp_path):
  """`write_tiff(u8[bands, H, W], crs=..., transform=...)`: the path of a GeoTIFF."""

  def make(bands, *, colormap=None, **profile):
    path = tmp_path / 'scene.tif'
    count, height, width = bands.shape
    shape = {'count': count, 'height': height, 'width': width, 'dtype': bands.dtype}
    with rasterio.open(path, 'w', driver='GTiff', **shape, **profile) as scene:
      scene.write(bands)
      if colormap:
        scene.write_colormap(1, colormap)
    return path

  return make


@pytest.fixture
def bands():
  return np.random.default_rng(0).integers(1, 256, (4, 25, 40)).astype(np.uint8)


def crops_of(pixels):
  return [pixels[y : y + h, x : x + w] for x, y, w, h in BOXES]


def test_windows_are_crops_of_the_whole(write_tiff, bands):
  path = write_tiff(
    bands[:3], photometric='RGB', tiled=True, blockxsize=16, blockysize=16
  )
  assert geo.read_size(path) == (40, 25)
  with Image.open(path) as image:
    expected = crops_of(np.asarray(image.convert('RGB')))
  for crop, pixels in zip(geo.read_windows(path, BOXES), expected, strict=True):
    np.testing.assert_array_equal(np.asarray(crop), pixels)


def test_a_band_alone_is_grey_and_further_bands_are_left_out(write_tiff, bands):
  crop = np.asarray(geo.read_windows(write_tiff(bands[:1]), BOXES)[1])
  np.testing.assert_array_equal(crop, np.stack([crops_of(bands[0])[1]] * 3, axis=-1))
  crop = np.asarray(geo.read_windows(write_tiff(bands, photometric='RGB'), BOXES)[1])
  np.testing.assert_array_equal(crop, crops_of(np.moveaxis(bands[:3], 0, -1))[1])


def test_sixteen_bits_keep_their_range(write_tiff, bands):
  values = bands[:1].astype(np.uint16) * 257
  crop = np.asarray(geo.read_windows(write_tiff(values), BOXES)[0])
  np.testing.assert_array_equal(crop[..., 0], crops_of(bands[0])[0])


def test_a_palette_becomes_its_colours(write_tiff):
  values = np.arange(25 * 40, dtype=np.int64).reshape(1, 25, 40) % 3
  colors = {0: (255, 0, 0, 255), 1: (0, 255, 0, 255), 2: (9, 8, 7, 255)}
  path = write_tiff(values.astype(np.uint8), colormap=colors)
  crop = np.asarray(geo.read_windows(path, BOXES)[2])
  table = np.array([colors[i][:3] for i in range(3)])
  np.testing.assert_array_equal(crop, table[crops_of(values[0])[2]])


def test_boxes_without_data_are_none(write_tiff, bands):
  bands[:, :, :20] = 0
  crops = geo.read_windows(write_tiff(bands[:3], nodata=0, photometric='RGB'), BOXES)
  assert [crop is None for crop in crops] == [True, False, True]


def test_floats_and_what_is_no_tiff_are_refused(write_tiff, bands, tmp_path):
  path = write_tiff(bands.astype(np.float32))
  with pytest.raises(UserError, match='float32 bands, whose range is unknown'):
    geo.read_windows(path, BOXES)
  (tmp_path / 'text.tif').write_text('no picture')
  with pytest.raises(UserError, match=r'text\.tif: expected a readable TIFF'):
    geo.read_size(tmp_path / 'text.tif')
