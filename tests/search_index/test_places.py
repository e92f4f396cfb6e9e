"""Corners of boxes beside hand-made values and pyproj, and why a scene has none."""

import sys
import types

import numpy as np
import pytest

from harma_jax.search_index.places import read_corners, read_corners_beside, to_utm

rasterio = pytest.importorskip('rasterio')

BOX = np.array([[0, 0, 16, 16]], np.int32)
POLAR = 'EPSG:3413'  # the north, longitude 45 west down


@pytest.fixture
def scene(tmp_path):
  """`scene(crs=..., transform=...)`: an opened GeoTIFF, 40 wide and 25 high."""
  with_all = []

  def make(*, gcps=None, rpcs=None, name='scene.tif', driver='GTiff', **profile):
    shape = {'width': 40, 'height': 25, 'count': 1, 'dtype': 'uint8'}
    path = tmp_path / name
    with rasterio.open(path, 'w', driver=driver, **shape, **profile) as new:
      if gcps:
        new.gcps = gcps
      if rpcs:
        new.rpcs = rpcs
      new.write(np.zeros((1, 25, 40), np.uint8))
    with_all.append(rasterio.open(path))
    return with_all[-1]

  yield make
  for opened in with_all:
    opened.close()


def affine(*values):
  return rasterio.Affine(*values)


def corners_of(opened, box=(0, 0, 16, 16)):
  corners, reason = read_corners(opened, np.array([box], np.int32))
  assert reason == ''
  return corners[0]


def test_degrees_stay_degrees(scene):
  opened = scene(crs='EPSG:4326', transform=affine(0.5, 0, 8, 0, -0.25, 47))
  west, north, east, south = 8 + 24 / 2, 47 - 9 / 4, 8 + 40 / 2, 47 - 25 / 4
  expected = [[west, north], [west, south], [east, south], [east, north]]
  np.testing.assert_allclose(corners_of(opened, (24, 9, 16, 16)), expected, atol=1e-9)


def test_metres_of_a_utm_zone_become_degrees(scene):
  # The central meridian of zone 32 is 9 degrees east, at easting 500 km.
  opened = scene(crs='EPSG:32632', transform=affine(10, 0, 500_000, 0, -10, 0))
  corners = corners_of(opened)
  np.testing.assert_allclose(corners[0], [9, 0], atol=1e-9)
  # 160 m at the equator, on the meridian where the scale is 0.9996.
  assert corners[2, 0] - 9 == pytest.approx(160 / 0.9996 / 111_319.49, rel=1e-4)


@pytest.mark.parametrize('crs', ['EPSG:2154', 'EPSG:32633', 'EPSG:3031', 'EPSG:27700'])
def test_rotated_scenes_are_where_pyproj_puts_them(scene, crs):
  pyproj = pytest.importorskip('pyproj')
  turned = affine(8, 5, 400_000, 5, -8, 300_000)
  corners = corners_of(scene(crs=crs, transform=turned), (3, 5, 20, 8))
  there = [turned * pixel for pixel in [(3, 5), (3, 13), (23, 13), (23, 5)]]
  transformer = pyproj.Transformer.from_crs(crs, 'EPSG:4326', always_xy=True)
  expected = np.stack(transformer.transform(*np.transpose(there)), axis=-1)
  np.testing.assert_allclose(corners, expected, atol=1e-7)


@pytest.mark.parametrize('count', [4, 12])
def test_ground_control_points_place_a_scene(scene, count):
  from rasterio.control import GroundControlPoint

  pixels = np.random.default_rng(0).uniform(0, 40, (count - 4, 2)).tolist()
  pixels += [[0, 0], [40, 0], [0, 25], [40, 25]]
  points = [
    GroundControlPoint(row=row, col=column, x=8 + column / 10, y=47 - row / 20)
    for column, row in pixels
  ]
  corners = corners_of(scene(gcps=(points, rasterio.CRS.from_epsg(4326))))
  expected = [[8, 47], [8, 46.2], [9.6, 46.2], [9.6, 47]]
  np.testing.assert_allclose(corners, expected, atol=1e-6)


def test_control_points_may_cross_longitude_180(scene):
  from rasterio.control import GroundControlPoint

  points = [
    GroundControlPoint(row=row, col=column, x=(359 + column / 20) % 360 - 180, y=row)
    for column, row in [(0, 0), (40, 0), (0, 25), (40, 25)]
  ]
  corners = corners_of(
    scene(gcps=(points, rasterio.CRS.from_epsg(4326))), (10, 0, 20, 20)
  )
  np.testing.assert_allclose(corners[:, 0] % 360, [179.5, 179.5, 180.5, 180.5])


def test_rational_polynomials_place_a_scene_at_their_mean_height(scene):
  from rasterio.rpc import RPC

  def first(*values):
    return [*values, *[0.0] * (20 - len(values))]

  # Pixels move by one for each metre of height from 100 m on.
  rpcs = RPC(
    height_off=100, height_scale=1, lat_off=45, lat_scale=0.1, long_off=10,
    long_scale=0.1, line_off=10, line_scale=10, samp_off=20, samp_scale=20,
    line_num_coeff=first(0, 0, -1), line_den_coeff=first(1),
    samp_num_coeff=first(0, 1, 0, 0.05), samp_den_coeff=first(1),
    err_bias=None, err_rand=None,
  )  # fmt: skip
  corners = corners_of(scene(rpcs=rpcs), (0, 0, 40, 20))
  # The offsets are those of a pixel's centre.
  west, east, north, south = 9.9 - 0.0025, 10.1 - 0.0025, 45.1 + 0.005, 44.9 + 0.005
  expected = [[west, north], [west, south], [east, south], [east, north]]
  np.testing.assert_allclose(corners, expected, atol=1e-6)


@pytest.mark.parametrize(('driver', 'ending'), [('GTiff', 'tif'), ('PNG', 'png')])
def test_a_world_file_needs_the_system_of_a_prj(scene, tmp_path, driver, ending):
  world = tmp_path / f'scene.{ending[0]}{ending[-1]}w'
  world.write_text('10\n0\n0\n-10\n500005\n-5\n')  # of the middle of the first pixel
  opened = scene(name=f'scene.{ending}', driver=driver)
  corners, reason = read_corners(opened, BOX)
  assert corners is None
  assert reason == 'its coordinates have no coordinate system'
  system = rasterio.CRS.from_epsg(32632).to_wkt(version='WKT1_ESRI')
  (tmp_path / 'scene.prj').write_text(system)
  np.testing.assert_allclose(corners_of(opened)[0], [9, 0], atol=1e-9)


@pytest.mark.parametrize('ending', ['jgw', 'JGW', 'jpgw', 'wld'])
def test_a_world_file_places_what_gdal_does_not_read(scene, tmp_path, ending):
  path = tmp_path / 'photo.jpg'
  where = {'boxes': np.array([[3, 5, 20, 8]], np.int32), 'size': (40, 25)}
  assert read_corners_beside(path, **where) == (None, 'it has no georeference')
  (tmp_path / f'photo.{ending}').write_text('8\n5\n5\n-8\n400000\n5000000\n')
  corners, reason = read_corners_beside(path, **where)
  assert (corners, reason) == (None, 'its coordinates have no coordinate system')
  system = rasterio.CRS.from_epsg(32632)
  (tmp_path / 'photo.prj').write_text(system.to_wkt(version='WKT1_ESRI'))
  corners, reason = read_corners_beside(path, **where)
  assert reason == ''
  same = affine(8, 5, 400_000 - 6.5, 5, -8, 5_000_000 + 1.5)
  opened = scene(crs=system, transform=same)
  np.testing.assert_allclose(corners[0], corners_of(opened, (3, 5, 20, 8)), atol=1e-9)
  (tmp_path / f'photo.{ending}').write_text('no numbers')
  corners, reason = read_corners_beside(path, **where)
  assert (corners, reason) == (None, f'.{ending} beside it is no world file')


def test_a_world_file_without_rasterio_says_so(tmp_path, monkeypatch):
  (tmp_path / 'photo.jgw').write_text('8\n5\n5\n-8\n400000\n5000000\n')
  monkeypatch.setitem(sys.modules, 'rasterio', None)
  corners, reason = read_corners_beside(tmp_path / 'photo.jpg', BOX, size=(40, 25))
  assert (corners, reason) == (None, 'it has a world file, which rasterio is to read')


@pytest.mark.parametrize(
  ('profile', 'reason'),
  [
    ({}, 'it has no georeference'),
    ({'crs': 'EPSG:32631'}, 'coordinate system and no transform (EPSG:32631)'),
    (
      {'crs': 'EPSG:4326', 'transform': (0, 0, 8, 0, 0, 47)},
      'its transform puts all pixels on one line',
    ),
    (
      {'crs': 'LOCAL_CS["Site",UNIT["metre",1]]', 'transform': (1, 0, 8, 0, -1, 47)},
      'cannot become longitude and latitude (Site)',
    ),
    (
      {'crs': 'LOCAL_CS["unnamed",UNIT["metre",1]]', 'transform': (1, 0, 8, 0, -1, 47)},
      'cannot become longitude and latitude (a system without a name)',
    ),
    (
      {'crs': 'IAU_2015:30100', 'transform': (0.1, 0, 8, 0, -0.1, 47)},
      'cannot become longitude and latitude (IAU_2015:30100)',
    ),
    (
      {'crs': 'EPSG:4326', 'transform': (9, 0, 8, 0, -9, 4700)},
      'cannot become longitude and latitude (EPSG:4326)',
    ),
  ],
)
def test_what_has_no_place_says_why(scene, profile, reason):
  if 'transform' in profile:
    profile['transform'] = affine(*profile['transform'])
  corners, found = read_corners(scene(**profile), BOX)
  assert corners is None
  assert reason in found


def test_heights_are_no_degrees():
  """Files of GDAL's own drivers have no such system; others' may."""
  crs = rasterio.CRS.from_epsg(5703)
  transform = affine(0.1, 0, 8, 0, -0.1, 47)
  heights = types.SimpleNamespace(crs=crs, transform=transform, width=40, height=25)
  corners, reason = read_corners(heights, BOX)
  assert corners is None
  assert 'cannot become longitude and latitude (EPSG:5703)' in reason


def test_of_a_full_disk_the_boxes_on_the_earth_have_a_place(scene):
  disk = '+proj=geos +h=35785831 +lon_0=0 +sweep=y'
  opened = scene(crs=disk, transform=affine(3e5, 0, -6e6, 0, -4.8e5, 6e6))
  boxes = np.array([[0, 0, 5, 5], [18, 11, 4, 3]], np.int32)
  corners, reason = read_corners(opened, boxes)
  assert reason == 'parts of it are not on the earth (Geostationary Satellite)'
  assert np.isnan(corners[0]).all()
  assert np.abs(corners[1]).max() < 10
  only, again = read_corners(opened, boxes[:1])
  assert only is None
  assert again == reason


def test_longitudes_are_continuous_across_180(scene):
  # Zone 1 begins at longitude 180.
  opened = scene(crs='EPSG:32601', transform=affine(1000, 0, 250_000, 0, -1000, 5e6))
  corners = corners_of(opened, (0, 0, 40, 25))
  assert np.ptp(corners[:, 0]) < 1
  west, east = (corners[:, 0] % 360).min(), (corners[:, 0] % 360).max()
  assert west < 180 < east


@pytest.mark.parametrize('west', [-180, 0, 180, 190, 540])
def test_longitudes_may_begin_anywhere(scene, west):
  opened = scene(crs='EPSG:4326', transform=affine(0.5, 0, west, 0, -0.5, 10))
  corners = corners_of(opened, (0, 0, 40, 20))
  assert -180 <= corners[:, 0].mean() < 180
  np.testing.assert_allclose((corners[:, 0] - west) % 360, [0, 0, 20, 20], atol=1e-9)


@pytest.mark.parametrize('west', [-180, 0])
def test_a_map_of_the_world_spans_it(scene, west):
  opened = scene(crs='EPSG:4326', transform=affine(9, 0, west, 0, -7.2, 90))
  corners = corners_of(opened, (0, 0, 40, 25))
  np.testing.assert_allclose(np.diff(corners[:, 0]), [0, 360, 0], atol=1e-9)
  np.testing.assert_allclose(corners[:, 1], [90, -90, -90, 90], atol=1e-9)


def test_cells_around_the_poles_end_there(scene):
  opened = scene(crs='EPSG:4326', transform=affine(9, 0, -180, 0, -7.5, 93.75))
  corners = corners_of(opened, (0, 0, 40, 25))
  np.testing.assert_array_equal(corners[:, 1], [90, -90, -90, 90])


def test_a_box_around_the_pole_goes_once_around_the_earth(scene):
  opened = scene(crs=POLAR, transform=affine(1e4, 0, -2e5, 0, -1e4, 1e5))
  corners = corners_of(opened, (10, 0, 20, 20))
  np.testing.assert_allclose(np.abs(np.diff(corners[:, 0])), 90, atol=1e-6)
  assert np.ptp(corners[:, 0]) == pytest.approx(270)


def test_utm_coordinates_are_those_that_the_scene_has(scene):
  opened = scene(crs='EPSG:32732', transform=affine(10, 0, 400_000, 0, -10, 5e6))
  corners = np.stack([corners_of(opened), np.full((4, 2), np.nan)])
  metres, codes = to_utm(corners)
  assert codes.tolist() == [32732, 0]
  assert np.isnan(metres[1]).all()
  expected = [
    [400_000, 5e6],
    [400_000, 5e6 - 160],
    [400_160, 5e6 - 160],
    [400_160, 5e6],
  ]
  np.testing.assert_allclose(metres[0], expected, atol=1e-3)
