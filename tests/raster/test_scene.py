"""Files of all kinds, whole and in tiles, beside an oracle that reads by GDAL alone."""

import functools
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from harma_jax.data.images import read_header, read_image
from harma_jax.errors import UserError
from harma_jax.raster.how import How
from harma_jax.raster.scene import open_scene
from harma_jax.search_index.files import tile_boxes
from harma_jax.search_index.reader import read_rows

TILE, STRIDE = 16, 11


def oracle(path, *, bands=(1, 2, 3), line=None):
  """u8[H, W, 3] of the whole file; `line` is what becomes 0 and 255, if any."""
  import rasterio

  with rasterio.open(path) as scene:
    found = scene.read(list(bands)).astype(np.float64)
  if line is not None:
    black, white = line
    found = np.clip((found - black) * 255 / (white - black), 0, 255)
  found = np.moveaxis(np.broadcast_to(np.rint(found), (3, *found.shape[1:])), 0, -1)
  return found.astype(np.uint8)


def percentiles(path, *, bands=(1, 2, 3)):
  import rasterio

  with rasterio.open(path) as scene:
    found = scene.read(list(bands)).reshape(len(bands), -1).astype(np.float64)
  low, high = np.percentile(found, (2, 98), axis=1)
  return low.min(), high.max()


def tiles_of(path, *, how=None):
  """All tiles of a file, put back in their places: u8[H, W, 3]."""
  cut = functools.partial(tile_boxes, tile=TILE, stride=STRIDE)
  how = how or How()
  pixels = np.zeros((25, 40, 3), np.uint8)
  for _, rows in read_rows([path], side=TILE, cut=cut, threads=2, how=how):
    if isinstance(rows, UserError):
      raise rows
    for (left, top, width, height), image in zip(rows.boxes, rows.images, strict=True):
      pixels[top : top + height, left : left + width] = image
  return pixels


def check(path, expected, *, how=None, atol=0):
  """The file is `expected` whole and in tiles."""
  whole = np.asarray(read_image(path, how=how or How()))
  np.testing.assert_allclose(whole.astype(int), expected.astype(int), atol=atol)
  np.testing.assert_array_equal(tiles_of(path, how=how), whole)


LAYOUTS = {
  'strips': {},
  'one strip': {'blockysize': 25},
  'rows': {'blockysize': 1},
  'tiles': {'tiled': True, 'blockxsize': 16, 'blockysize': 32},
  'planar': {'interleave': 'band'},
  'planar tiles': {
    'interleave': 'band',
    'tiled': True,
    'blockxsize': 32,
    'blockysize': 16,
  },
  'BigTIFF': {'BIGTIFF': 'YES'},
  'big-endian': {'ENDIANNESS': 'BIG'},
  'COG': {'driver': 'COG', 'BLOCKSIZE': 128},
}
COMPRESSIONS = ('NONE', 'DEFLATE', 'LZW', 'ZSTD', 'PACKBITS')
KINDS = {
  'u8': (np.uint8, 1, 255),
  'u16 of 12 bits': (np.uint16, 1, 4095),
  'u16': (np.uint16, 1, 65535),
  'i8': (np.int8, -120, 120),
  'i16': (np.int16, -3000, 9000),
  'u32': (np.uint32, 1, 2**31),
  'i32': (np.int32, -(2**30), 2**30),
  'f32': (np.float32, -1.5, 0.7),
  'f64': (np.float64, 1e-9, 1e9),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('count', [1, 3, 5])
def test_the_matrix(write_scene, values, kind, layout, count):
  dtype, low, high = KINDS[kind]
  how = sorted(KINDS).index(kind) + sorted(LAYOUTS).index(layout) + count
  compression = COMPRESSIONS[how % len(COMPRESSIONS)]
  if layout == 'COG' and compression == 'PACKBITS':
    compression = 'DEFLATE'
  path = write_scene(
    values(count, dtype, low=low, high=high),
    compress=compression,
    **({} if layout == 'COG' else {'photometric': 'MINISBLACK'}),
    **LAYOUTS[layout],
  )
  bands = (1,) if count == 1 else (1, 2, 3)
  line = None if kind == 'u8' else percentiles(path, bands=bands)
  # Values of 32 bits are computed with as many; a half may fall on either side.
  check(path, oracle(path, bands=bands, line=line), atol=1 if kind == 'f32' else 0)
  line = low + (high - low) / 4, low + (high - low) / 2
  how = How(stretch=f'{line[0]},{line[1]}')
  expected = oracle(path, bands=bands, line=None if kind == 'u8' else line)
  check(path, expected, how=how, atol=1 if kind == 'f32' else 0)


@pytest.mark.parametrize('bits', [1, 2, 4])
@pytest.mark.parametrize('photometric', ['MINISBLACK', 'MINISWHITE'])
def test_few_bits_take_their_full_range(write_scene, values, bits, photometric):
  found = values(1, np.uint8, low=0, high=2**bits - 0.01)
  path = write_scene(found, nbits=bits, photometric=photometric)
  line = (0, 2**bits - 1)
  line = line[::-1] if photometric == 'MINISWHITE' else line
  check(path, oracle(path, bands=(1,), line=line))


@pytest.mark.parametrize(('dtype', 'high'), [(np.uint8, 255), (np.uint16, 4000)])
def test_min_is_white_is_no_negative(write_scene, values, dtype, high):
  path = write_scene(values(1, dtype, high=high), photometric='MINISWHITE')
  line = (0, 255) if high == 255 else percentiles(path, bands=(1,))
  check(path, oracle(path, bands=(1,), line=line[::-1]))


def test_twelve_bits_without_a_stretch_take_their_range(write_scene, values):
  path = write_scene(values(3, np.uint16, high=4095), nbits=12)
  how = How(stretch='none')
  check(path, oracle(path, line=(0, 4095)), how=how)


@pytest.mark.parametrize('count', [1, 3])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_jpeg_2000(write_scene, values, count, dtype):
  lossless = {'REVERSIBLE': 'YES', 'QUALITY': '100', 'BLOCKXSIZE': 32}
  found = values(count, dtype, high=np.iinfo(dtype).max / 4)
  path = write_scene(found, driver='JP2OpenJPEG', **lossless)
  bands = (1, 2, 3)[:count]
  line = None if dtype == np.uint8 else percentiles(path, bands=bands)
  check(path, oracle(path, bands=bands, line=line))


def test_jpeg_in_tiff_is_rgb(write_scene, values):
  path = write_scene(
    values(), compress='JPEG', photometric='YCBCR', tiled=True, blockxsize=16,
    blockysize=16, jpeg_quality=95,
  )  # fmt: skip
  check(path, oracle(path))


def test_sixteen_bits_of_png(write_scene, values):
  path = write_scene(values(3, np.uint16, high=3000), driver='PNG')
  check(path, oracle(path, line=percentiles(path)))


def test_a_palette_becomes_its_colours(write_scene):
  values = np.arange(25 * 40, dtype=np.int64).reshape(1, 25, 40) % 3
  colors = {0: (255, 0, 0, 255), 1: (0, 255, 0, 255), 2: (9, 8, 7, 255)}
  path = write_scene(values.astype(np.uint8), colormap=colors)
  table = np.array([colors[i][:3] for i in range(3)])
  check(path, table[values[0]])


def test_inks_become_colours(write_scene, values):
  path = write_scene(values(4), photometric='CMYK')
  inks = 255 - np.moveaxis(values(4), 0, -1).astype(int)
  check(path, np.rint(inks[..., :3] * inks[..., 3:] / 255), atol=1)


TIFF_ORIENTATION = 274


def turned(path, orientation):
  """The same pixels with the tag; Pillow writes plain TIFFs alone."""
  image = Image.open(path)
  image.load()
  image.save(path, tiffinfo={TIFF_ORIENTATION: orientation})
  return path


@pytest.mark.parametrize('orientation', range(1, 9))
def test_tiles_of_a_turned_file_are_those_of_the_upright_one(
  write_scene, values, orientation, monkeypatch
):
  monkeypatch.setattr('harma_jax.raster.gdal.UNIT', 1)
  path = turned(write_scene(values(3), photometric='RGB', blockysize=3), orientation)
  whole = read_image(path)
  assert whole.size == Image.open(path).size  # which Pillow gives upright
  np.testing.assert_array_equal(whole, Image.open(path).convert('RGB'))
  assert read_header(path).size == whole.size
  with open_scene(path, name='a') as scene:
    for left, top, width, height in tile_boxes(*whole.size, tile=7, stride=5).tolist():
      crop = whole.crop((left, top, left + width, top + height))
      found = scene.read((left, top, width, height)).image()
      np.testing.assert_array_equal(found, crop)


def test_beside_a_georeference_an_orientation_does_not_count(
  write_scene, values, monkeypatch
):
  path = write_scene(values(3), photometric='RGB')
  with Image.open(path) as image:
    tags = {TIFF_ORIENTATION: 3, 33550: (1.0, 1.0, 0.0), 33922: (0.0,) * 6}
    image.save(path, tiffinfo=tags)
  check(path, np.moveaxis(values(3), 0, -1))
  with open_scene(path, name='a') as scene:
    assert scene.facts['notes'] == [
      'not turned as its orientation says: it has a georeference'
    ]
  monkeypatch.setattr('harma_jax.raster.scene.has_gdal', lambda: False)
  with pytest.raises(UserError, match='both an orientation and a georeference'):
    read_image(path)


def test_units_smaller_and_larger_than_boxes_give_the_same(
  write_scene, values, monkeypatch
):
  found = values(3, np.uint16, high=3000)
  path = write_scene(found, tiled=True, blockxsize=16, blockysize=16)
  expected = read_image(path)
  monkeypatch.setattr('harma_jax.raster.gdal.UNIT', 1)
  monkeypatch.setattr('harma_jax.raster.gdal.KEPT_BYTES', 1)
  np.testing.assert_array_equal(read_image(path), expected)
  np.testing.assert_array_equal(tiles_of(path), expected)


def test_one_stretch_for_the_whole_scene_is_in_its_facts(write_scene, values):
  path = write_scene(values(3, np.uint16, high=3000))
  with open_scene(path, name='a') as scene:
    facts = scene.facts
  assert facts['stretch'] == list(percentiles(path))
  assert facts['stretch_by'] == 'percentiles 2 to 98'
  assert facts['bands'] == [1, 2, 3]


def test_a_reflectance_looks_like_the_8_bits_that_it_came_from(write_scene, values):
  bytes_ = values(3, np.uint8, high=255)
  path = write_scene((bytes_.astype(np.uint16) * (3000 / 255)).astype(np.uint16))
  found = np.asarray(read_image(path)).astype(int)
  same = np.moveaxis(bytes_, 0, -1)
  assert np.corrcoef(found.ravel(), same.ravel())[0, 1] > 0.98
  assert found.std() > same.std()


def test_more_pixels_than_the_limit_are_read_in_tiles_alone(write_scene, values):
  path = write_scene(values(3))
  with pytest.raises(UserError, match=r'40 x 25 pixels, more .* --tile=256'):
    read_image(path, max_pixels=999)


def test_huge_blocks_are_refused(write_scene, values, monkeypatch):
  monkeypatch.setattr('harma_jax.raster.plan.LARGEST_BLOCK', 2999)
  path = write_scene(values(3), blockysize=25)
  with pytest.raises(UserError, match=r'blocks of 40 x 25 .* -co TILED=YES'):
    read_image(path)


def test_a_virtual_file_is_no_image_and_none_beside_one_is_read(write_scene, values):
  path = write_scene(values(3))
  vrt = '<VRTDataset rasterXSize="1" rasterYSize="1"/>'
  fake = path.with_name('fake.tif')
  fake.write_text(vrt)
  with pytest.raises(UserError, match='cannot identify'):
    read_image(fake)
  path.with_name(f'{path.name}.ovr').write_text(vrt)
  with pytest.raises(UserError, match=r'\.ovr beside it, which is no TIFF'):
    read_image(path)


def test_truncated_files_are_refused(write_scene, values, caplog):
  for profile in ({'compress': 'DEFLATE'}, {'driver': 'JP2OpenJPEG'}):
    path = write_scene(values(3, np.uint16, high=3000), **profile)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match='expected a readable image'):
      read_image(path)
  assert not caplog.records  # what GDAL says is in the message


def test_complex_values_are_refused(write_scene, values):
  path = write_scene(values(1, np.complex64))
  with pytest.raises(UserError, match='complex64 values'):
    read_image(path)


def test_none_needs_a_range(write_scene, values):
  path = write_scene(values(3, np.float32, low=0, high=1))
  with pytest.raises(
    UserError, match=r'float32 values, whose range .* stretch=MIN,MAX'
  ):
    read_image(path, how=How(stretch='none'))


def test_a_file_that_is_closed_while_it_is_read_is_closed_after(write_scene, values):
  with open_scene(write_scene(values(3)), name='a') as scene, scene.dataset() as open_:
    scene.close()
    assert open_.read(1).shape == (25, 40)
  assert open_.closed


def test_plain_images_need_no_gdal(tmp_path):
  Image.new('RGB', (4, 4)).save(tmp_path / 'a.png')
  program = (
    'import sys; from harma_jax.data.images import read_image\n'
    f'read_image({str(tmp_path / "a.png")!r}); sys.exit("rasterio" in sys.modules)'
  )
  subprocess.run([sys.executable, '-c', program], check=True)
