"""Hits as GeoJSON: longitude first, closed, counterclockwise."""

import itertools
import json

import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.geojson import geojson_of
from harma_jax.search_index.query import Hit

CORNERS = ((8.0, 47.0), (8.0, 46.0), (9.0, 46.0), (9.0, 47.0))


def hit(corners):
  return Hit(image='a.tif', similarity=0.5, box=(1, 2, 3, 4), corners=corners)


def area(ring):
  pairs = itertools.pairwise(ring)
  return sum((x * next_y - next_x * y) / 2 for (x, y), (next_x, next_y) in pairs)


@pytest.mark.parametrize('corners', [CORNERS, CORNERS[::-1]])
def test_a_box_is_a_closed_ring_counterclockwise(corners):
  text = geojson_of([hit(None), hit(corners)])
  collection = json.loads(text)
  [feature] = collection['features']
  [ring] = feature['geometry']['coordinates']
  assert ring[0] == ring[-1]
  assert {tuple(place) for place in ring} == set(CORNERS)
  assert area(ring) == pytest.approx(1)
  expected = {'rank': 2, 'image': 'a.tif', 'similarity': 0.5, 'box': [1, 2, 3, 4]}
  assert feature['properties'] == expected


def test_hits_without_a_place_are_refused():
  with pytest.raises(UserError, match=r'--geojson: .*harma_jax\[geo\]'):
    geojson_of([hit(None)])
