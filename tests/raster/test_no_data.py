"""Pixels without data, and the boxes that are left out for them."""

import functools

import numpy as np
import pytest

from harma_jax.data.images import read_image
from harma_jax.raster.how import How
from harma_jax.raster.no_data import NoData, is_alpha, valid_pixels
from harma_jax.raster.scene import open_scene
from harma_jax.search_index.files import tile_boxes
from harma_jax.search_index.reader import NO_DATA, read_rows

LEFT_HALF = (0, 0, 20, 25)


def share(path, box=(0, 0, 40, 25), **how):
  with open_scene(path, name='a', how=How(**how)) as scene:
    return scene.read(box).share_valid(), scene.facts


def test_the_value_must_be_in_all_shown_bands(write_scene, values):
  found = values(3)
  found[:, :, :20] = 0
  found[1, :, :10] = 9
  path = write_scene(found, nodata=0)
  assert share(path)[0] == 0.75
  assert share(path)[1]['no_data'] == 'the value 0'
  assert share(path, bands='2')[0] == 0.75


def test_bands_that_are_not_shown_do_not_count(write_scene, values):
  found = values(4)
  found[3] = 0  # near infrared over water
  path = write_scene(found, nodata=0, photometric='MINISBLACK')
  assert share(path)[0] == 1


def test_a_fourth_band_of_near_infrared_is_no_alpha(write_scene, values):
  found = values(4)
  found[3, :, :20] //= 3
  found[3, :4] = 0
  colors = ('red', 'green', 'blue', 'alpha')
  path = write_scene(found, colors=colors, photometric='RGB')
  valid, facts = share(path)
  assert valid == 1
  assert facts['notes'] == ['band 4 is called alpha and is none']


@pytest.mark.parametrize('on', [1, 128, 255])
def test_an_alpha_is_one(write_scene, values, on):
  found = values(4)
  found[3] = on
  found[3, :, :20] = 0
  colors = ('red', 'green', 'blue', 'alpha')
  valid, facts = share(write_scene(found, colors=colors, photometric='RGB'))
  assert valid == 0.5
  assert facts['no_data'] == 'alpha, band 4'


def test_an_undefined_fourth_band_is_no_alpha(write_scene, values):
  found = values(4)
  found[3] = 0
  colors = ('red', 'green', 'blue', 'undefined')
  assert share(write_scene(found, colors=colors, photometric='RGB', alpha='NO'))[0] == 1


def test_a_mask_counts(write_scene, values):
  mask = np.full((25, 40), 255, np.uint8)
  mask[:, :30] = 0
  valid, facts = share(write_scene(values(3), mask=mask))
  assert valid == 0.25
  assert facts['no_data'] == 'a mask'


def test_not_a_number_is_no_data(write_scene, values):
  found = values(3, np.float32, low=0, high=1)
  found[:, :, :20] = np.nan
  path = write_scene(found)
  assert share(path)[0] == 0.5
  assert (np.asarray(read_image(path))[:, :20] == 0).all()
  assert share(write_scene(found, nodata=np.nan))[0] == 0.5


def test_a_marker_of_32_bits_is_found(write_scene, values):
  found = values(3, np.float32, low=0.2, high=1)
  found[:, :, :20] = -3.4028235e38
  valid, facts = share(write_scene(found, nodata=-3.4028234663852886e38))
  assert valid == 0.5
  assert facts['stretch'][0] > 0


def test_stretched_pixels_without_data_are_black_and_do_not_count(write_scene, values):
  found = values(3, np.uint16, low=500, high=3000)
  plain = share(write_scene(found[:, :, 20:]))[1]['stretch']
  found[:, :, :20] = 65535
  path = write_scene(found, nodata=65535)
  assert share(path)[1]['stretch'] == pytest.approx(plain)
  assert (np.asarray(read_image(path))[:, :20] == 0).all()


def test_8_bits_without_data_stay_as_they_are(write_scene, values):
  found = values(3)
  found[:, :, :20] = 200
  path = write_scene(found, nodata=200, photometric='RGB')
  np.testing.assert_array_equal(read_image(path), np.moveaxis(found, 0, -1))


def test_boxes_of_too_little_data_are_left_out_and_counted(write_scene, values):
  found = values(3)
  found[:, :, :16] = 0
  found[:, :2, :16] = 9
  path = write_scene(found, nodata=0)
  cut = functools.partial(tile_boxes, tile=8, stride=8)

  def rows(**how):
    return list(read_rows([path], side=8, cut=cut, threads=1, how=How(**how)))

  [(_, some)] = rows()
  # Two columns of four rows of tiles, of which the first row holds a quarter of data.
  assert len(some.boxes) == 20 - 6
  assert some.dropped == {NO_DATA: 6}
  [(_, some)] = rows(min_valid=0.5)
  assert some.dropped == {NO_DATA: 8}
  [(_, some)] = rows(min_valid=0)
  assert (len(some.boxes), some.dropped) == (20, {})
  assert some.facts['no_data'] == 'the value 0'


def test_valid_pixels_are_none_where_all_are():
  values = np.ones((2, 2, 3), np.uint8)
  assert valid_pixels(values, NoData(values=(0, 0, 0))) is None
  assert valid_pixels(values, NoData()) is None


def test_an_alpha_is_mostly_off_or_on():
  rng = np.random.default_rng(0)
  assert not is_alpha(rng.integers(0, 256, 1000))
  assert is_alpha(rng.choice([0, 255], 1000))
  assert is_alpha(np.array([], np.uint8))
