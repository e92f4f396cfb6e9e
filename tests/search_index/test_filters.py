"""Rows of an index that touch an area."""

import json

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.filters import rows_within

shapely = pytest.importorskip('shapely')


def box(west, south, east, north):
  return [[west, north], [west, south], [east, south], [east, north]]


CORNERS = np.array(
  [
    box(5, 45, 6, 46),
    box(7, 45, 8, 46),
    box(179.5, 0, 180.5, 1),
    box(-180.5, 10, -179.5, 11),
    [[135, 80], [225, 80], [315, 80], [405, 80]],  # around the pole
    [[20, 1], [19, 0], [20, -1], [21, 0]],  # on one corner
    np.full((4, 2), np.nan),
  ],
  float,
)


@pytest.fixture
def area(tmp_path):
  """`area(geometry)`: a file of it, in GeoJSON."""

  def make(geometry):
    path = tmp_path / 'area.geojson'
    text = geometry if isinstance(geometry, str) else json.dumps(geometry)
    path.write_text(text)
    return str(path)

  return make


def found(**flags):
  return np.flatnonzero(rows_within(CORNERS, **flags)).tolist()


def test_without_flags_there_is_no_filter():
  assert rows_within(CORNERS) is None
  assert rows_within(CORNERS, bbox=None, within=None) is None


@pytest.mark.parametrize(
  ('bbox', 'rows'),
  [
    ('5.5,45.5,5.6,45.6', [0]),
    ('0,0,10,50', [0, 1]),
    ('6,40,7,50', [0, 1]),  # touched at the edges
    ('179,-5,-179,20', [2, 3]),
    ('179,-5,181,20', [2, 3]),
    ('-180,-5,-179.9,20', [2, 3]),
    ('170,-5,179.7,20', [2, 3]),
    ('0,89,1,90', [4]),
    ('-180,-90,180,90', [0, 1, 2, 3, 4, 5]),
    ('0,-90,360,90', [0, 1, 2, 3, 4, 5]),
  ],
)
def test_boxes_that_touch_the_area_are_found(bbox, rows):
  assert found(bbox=bbox) == rows


def test_a_turned_box_is_no_more_than_its_outline():
  assert found(bbox='20.4,0.4,20.5,0.5') == [5]
  with pytest.raises(UserError, match='found none in it of 6 with a place'):
    found(bbox='20.8,0.8,20.9,0.9')


def test_polygons_of_a_file_are_areas(area):
  triangle = {
    'type': 'Polygon',
    'coordinates': [[[5, 45], [5.5, 45], [5, 46], [5, 45]]],
  }
  assert found(within=area(triangle)) == [0]
  across = [[178, -5], [182, -5], [182, 20], [178, 20], [178, -5]]
  second = {'type': 'Polygon', 'coordinates': [across]}
  features = [{'type': 'Feature', 'properties': {}, 'geometry': triangle}]
  features += [{'type': 'Feature', 'properties': {}, 'geometry': second}]
  both = area({'type': 'FeatureCollection', 'features': features})
  assert found(within=both) == [0, 2, 3]
  assert found(within=both, bbox='0,0,10,50') == [0]


def test_a_hole_and_a_bow_tie_are_read_as_drawn(area):
  outer = [[4, 44], [9, 44], [9, 47], [4, 47], [4, 44]]
  hole = [[4.5, 44.5], [6.5, 44.5], [6.5, 46.5], [4.5, 46.5], [4.5, 44.5]]
  assert found(within=area({'type': 'Polygon', 'coordinates': [outer, hole]})) == [1]
  tie = [[4, 44], [9, 47], [9, 44], [4, 47], [4, 44]]
  assert found(within=area({'type': 'Polygon', 'coordinates': [tie]})) == [0, 1]


@pytest.mark.parametrize(
  'bbox', [' ', '1,2,3', 'a,b,c,d', '0,5,1,5', '0,5,1,4', '0,-91,1,0', '500,0,501,1']
)
def test_what_is_no_box_is_one_message(bbox):
  with pytest.raises(UserError, match='--bbox: expected W,S,E,N in degrees'):
    found(bbox=bbox)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('no JSON', 'expected GeoJSON with polygons in WGS84; found: '),
    ('{}', 'expected GeoJSON with polygons in WGS84; found: '),
    ({'type': 'Point', 'coordinates': [5, 45]}, 'found Point. Draw an area'),
    ({'type': 'FeatureCollection', 'features': []}, 'found nothing. Draw an area'),
    (
      {
        'type': 'Polygon',
        'coordinates': [[[5e5, 4e6], [6e5, 4e6], [6e5, 5e6], [5e5, 4e6]]],
      },
      'found coordinates up to 5,000,000, which are no degrees',
    ),
  ],
)
def test_what_is_no_area_is_one_message(area, content, message):
  with pytest.raises(UserError, match=message):
    found(within=area(content))


def test_a_file_that_is_not_there_is_one_message(tmp_path):
  with pytest.raises(UserError, match=r'--within=.*none\.geojson: expected GeoJSON'):
    found(within=str(tmp_path / 'none.geojson'))
