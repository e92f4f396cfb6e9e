"""Image files to rows, beside Pillow's crops one after the other."""

import functools
import importlib.util

import numpy as np
import pytest
from PIL import Image

from harma_jax.data.images import read_image, resize_for_evaluation
from harma_jax.errors import UserError
from harma_jax.raster import pillow, scene
from harma_jax.search_index import reader
from harma_jax.search_index.files import tile_boxes
from harma_jax.search_index.reader import read_crop, read_rows


@pytest.fixture
def paths(tmp_path):
  """Three images of different sizes, an unreadable one between them."""
  rng = np.random.default_rng(0)
  for name, size in {'a.png': (20, 31), 'c.tif': (50, 23), 'd.jpg': (9, 12)}.items():
    pixels = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / name)
  (tmp_path / 'b.png').write_text('no picture')
  return [tmp_path / name for name in ('a.png', 'b.png', 'c.tif', 'd.jpg')]


def read_plainly(path, *, side, tile, stride):
  """All boxes of a file and their pixels: the reference."""
  image = read_image(path)
  boxes = tile_boxes(*image.size, tile=tile, stride=stride)
  crops = [image.crop((x, y, x + w, y + h)) for x, y, w, h in boxes.tolist()]
  return boxes, np.stack([resize_for_evaluation(crop, side=side) for crop in crops])


@pytest.mark.parametrize(('tile', 'stride'), [(0, 0), (16, 8)])
@pytest.mark.parametrize('with_geo', [False, True])
def test_rows_are_those_of_pillow(paths, tile, stride, with_geo, monkeypatch):
  if with_geo and not importlib.util.find_spec('rasterio'):
    pytest.skip('needs rasterio')
  if not with_geo:
    monkeypatch.setattr(scene, 'has_gdal', lambda: False)
  monkeypatch.setattr(reader, 'BOXES_AT_ONCE', 3)
  cut = functools.partial(tile_boxes, tile=tile, stride=stride)
  found = list(read_rows(paths, side=8, cut=cut, threads=2))
  assert [file for file, _ in found] == sorted(file for file, _ in found)
  for number in (0, 2, 3):
    rows = [rows for file, rows in found if file == number]
    boxes, images = read_plainly(paths[number], side=8, tile=tile, stride=stride)
    np.testing.assert_array_equal(np.concatenate([r.boxes for r in rows]), boxes)
    np.testing.assert_array_equal(np.concatenate([r.images for r in rows]), images)
    assert all(len(r.boxes) <= 3 for r in rows)
  [mistake] = [rows for file, rows in found if file == 1]
  assert isinstance(mistake, UserError)
  assert 'b.png' in str(mistake)


def test_an_image_that_is_cut_is_decoded_once(paths, monkeypatch):
  calls = []

  def count(image, *arguments, **keywords):
    calls.append(image)
    return decode(image, *arguments, **keywords)

  decode = pillow.decode
  monkeypatch.setattr(pillow, 'decode', count)
  monkeypatch.setattr(reader, 'BOXES_AT_ONCE', 1)
  cut = functools.partial(tile_boxes, tile=4, stride=4)
  rows = list(read_rows(paths[:1], side=8, cut=cut, threads=3))
  assert len(rows) == 8 * 5
  assert len(calls) == 1


def test_a_box_must_lie_within_the_image(paths):
  for box in ((16, 0, 16, 16), (0, 8, 16, 16)):
    with pytest.raises(UserError, match=r'expected a box within .* pixels; found 16 x'):
      read_crop(paths[0], box)


def test_a_crop_is_the_box_of_the_image(paths):
  crop = read_crop(paths[2], (4, 5, 16, 16))
  expected = np.asarray(read_image(paths[2]))[5:21, 4:20]
  np.testing.assert_array_equal(np.asarray(crop), expected)


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_a_turned_photo_is_placed_as_it_is_stored(tmp_path, orientation):
  """The whole of it lies at one place, however it is turned; parts follow its turn."""
  rasterio = pytest.importorskip('rasterio')
  exif = Image.Exif()
  exif[274] = orientation
  Image.new('RGB', (40, 20), (9, 9, 9)).save(tmp_path / 'a.jpg', exif=exif)
  (tmp_path / 'a.jgw').write_text('0.1\n0\n0\n-0.1\n8.05\n46.95\n')
  (tmp_path / 'a.prj').write_text(rasterio.CRS.from_epsg(4326).to_wkt())

  def bounds(cut):
    [(_, rows)] = read_rows([tmp_path / 'a.jpg'], side=8, cut=cut, threads=1)
    return [*rows.corners[0].min(axis=0), *rows.corners[0].max(axis=0)]

  whole = bounds(lambda width, height: np.array([[0, 0, width, height]], np.int32))
  np.testing.assert_allclose(whole, [8, 45, 12, 47])
  corner = bounds(lambda width, height: np.array([[0, 0, 10, 10]], np.int32))
  first = {1: (8, 47), 3: (12, 45), 6: (8, 45), 8: (12, 47)}[orientation]
  west, south, east, north = corner
  assert first[0] == pytest.approx(west if first[0] == 8 else east)
  assert first[1] == pytest.approx(south if first[1] == 45 else north)


def test_a_tiff_whose_colours_pillow_converts_keeps_its_place(tmp_path):
  rasterio = pytest.importorskip('rasterio')
  path = tmp_path / 'lab.tif'
  profile = {
    **{'width': 8, 'height': 8, 'count': 3, 'dtype': 'uint8', 'photometric': 'cielab'},
    **{'crs': 'EPSG:4326', 'transform': rasterio.Affine(0.5, 0, 8, 0, -0.5, 47)},
  }
  with rasterio.open(path, 'w', driver='GTiff', **profile) as new:
    new.write(np.full((3, 8, 8), 90, np.uint8))
  [(_, rows)] = read_rows([path], side=8, cut=tile_boxes, threads=1)
  assert rows.facts == {'reader': 'Pillow', 'format': 'TIFF'}
  np.testing.assert_allclose(rows.corners[0, 0], [8, 47])
