"""Outlines beside hand-made polygons, and beside the boxes in their own projection."""

import itertools
import json

import numpy as np
import pytest

from harma_jax.search_index.outlines import bounds_of, geometry_of, holds_pole, outline

PLAIN = [(8.0, 47.0), (8.0, 46.0), (9.0, 46.0), (9.0, 47.0)]


def box(west, east, south=-10.0, north=10.0):
  return [(west, north), (west, south), (east, south), (east, north)]


def area(ring):
  pairs = itertools.pairwise(ring)
  return sum((x * next_y - next_x * y) / 2 for (x, y), (next_x, next_y) in pairs)


@pytest.mark.parametrize('corners', [PLAIN, PLAIN[::-1]])
def test_a_box_is_a_closed_ring_counterclockwise(corners):
  [ring] = outline(corners)
  assert ring[0] == ring[-1]
  assert set(ring) == set(PLAIN)
  assert len(ring) == 5
  assert area(ring) == pytest.approx(1)


@pytest.mark.parametrize(('west', 'east'), [(179, 182), (-181, -178), (539, 542)])
def test_a_box_across_180_has_two_parts(west, east):
  geometry = geometry_of(box(west, east))
  assert geometry['type'] == 'MultiPolygon'
  [[left], [right]] = geometry['coordinates']
  assert set(left) == set(box(179.0, 180.0))
  assert set(right) == set(box(-180.0, -178.0))
  assert area(left) == pytest.approx(20)
  assert area(right) == pytest.approx(40)
  assert bounds_of(geometry) == (-180, -10, 180, 10)


@pytest.mark.parametrize(('west', 'east'), [(-180, -179), (179, 180), (180, 181)])
def test_a_box_that_ends_at_180_has_one_part(west, east):
  [ring] = outline(box(west, east))
  assert area(ring) == pytest.approx(20)
  assert all(-180 <= x <= 180 for x, _ in ring)


@pytest.mark.parametrize('west', [-180.0, 0.0, 20.0])
def test_the_whole_earth_is_one_part(west):
  [ring] = outline(box(west, west + 360, -90.0, 90.0))
  assert set(ring) == set(box(-180.0, 180.0, -90.0, 90.0))


def test_a_box_around_a_pole_reaches_it():
  corners = [(135.0, 80.0), (225.0, 80.0), (315.0, 80.0), (405.0, 80.0)]
  assert holds_pole(corners)
  [ring] = outline(corners)
  assert {(-180.0, 90.0), (180.0, 90.0)} <= set(ring)
  # The edges are nearer to the pole than the corners.
  low = min(y for _, y in ring)
  assert low == pytest.approx(80)
  assert max(y for _, y in ring if y < 90) == pytest.approx(82.9, abs=0.1)
  assert not holds_pole(box(-180, 180))
  assert not holds_pole(box(-100, 100))


CENTRED = (1e4, -2e5, 2e5)  # 40 x 40 pixels of 10 km, the pole in the middle
PIECES = [
  (0, 0, 40, 40), (10, 10, 20, 20), (15, 10, 20, 20),  # the pole inside
  (20, 20, 20, 20), (0, 20, 20, 20), (0, 0, 20, 20), (20, 0, 20, 20),  # on a corner
  (20, 10, 20, 20), (0, 10, 20, 20), (10, 0, 20, 20), (10, 20, 20, 20),  # on an edge
  (0, 0, 10, 10), (12, 18, 2, 2), (21, 3, 10, 10),  # outside
]  # fmt: skip


@pytest.mark.parametrize('crs', ['EPSG:3413', 'EPSG:3031', 'EPSG:32661'])
@pytest.mark.parametrize('piece', PIECES)
def test_polar_boxes_cover_what_they_cover(tmp_path, crs, piece):
  """Random points lie in the outline where they lie in the box, in its own metres."""
  rasterio = pytest.importorskip('rasterio')
  pyproj = pytest.importorskip('pyproj')
  shapely = pytest.importorskip('shapely')
  from harma_jax.search_index.places import read_corners

  size, west, north = CENTRED
  shift = 2e6 if crs == 'EPSG:32661' else 0
  to = rasterio.Affine(size, 0, west + shift, 0, -size, north + shift)
  profile = {'width': 40, 'height': 40, 'count': 1, 'dtype': 'uint8', 'transform': to}
  with rasterio.open(tmp_path / 'a.tif', 'w', driver='GTiff', crs=crs, **profile):
    pass
  with rasterio.open(tmp_path / 'a.tif') as scene:
    corners, _ = read_corners(scene, np.array([piece], np.int32))
  shape = shapely.from_geojson(json.dumps(geometry_of(corners[0].tolist())))
  assert shape.is_valid
  pixels = np.random.default_rng(0).uniform(0, 40, (4000, 2))
  left, top, width, height = piece
  inside = (pixels >= [left, top]).all(axis=1)
  inside &= (pixels <= [left + width, top + height]).all(axis=1)
  transformer = pyproj.Transformer.from_crs(crs, 'EPSG:4326', always_xy=True)
  x, y = transformer.transform(*(to * tuple(pixels.T)))
  found = shapely.contains_xy(shape, x, y)
  # A great circle is not quite straight in the projection.
  assert (found != inside).mean() < 0.002
