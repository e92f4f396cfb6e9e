"""Hits as comma-separated values."""

import csv

import pytest

from harma_jax.search_index.csv_table import csv_of, wkt_of
from harma_jax.search_index.query import Hit

CORNERS = ((8.0, 47.0), (8.0, 46.0), (9.0, 46.0), (9.0, 47.0))
ACROSS = ((179.0, 1.0), (179.0, 0.0), (181.0, 0.0), (181.0, 1.0))


def test_all_hits_are_lines_with_a_place_where_known():
  hits = [Hit('a, "b".tif', 0.5, (1, 2, 3, 4), None)]
  hits += [Hit('c.tif', 0.25, (0, 0, 8, 8), CORNERS)]
  first, second = csv.DictReader(csv_of(hits).splitlines())
  assert first['image'] == 'a, "b".tif'
  assert (first['rank'], first['left'], first['height']) == ('1', '1', '4')
  assert (first['longitude'], first['latitude'], first['wkt']) == ('', '', '')
  assert float(second['longitude']) == pytest.approx(8.5)
  assert float(second['latitude']) == pytest.approx(46.5, abs=0.01)
  assert second['wkt'] == wkt_of(CORNERS)
  assert len(list(csv.DictReader(csv_of([]).splitlines()))) == 0


def test_well_known_text_is_what_shapely_reads():
  shapely = pytest.importorskip('shapely')
  plain, across = map(shapely.from_wkt, map(wkt_of, (CORNERS, ACROSS)))
  assert plain.equals(shapely.box(8, 46, 9, 47))
  parts = [shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)]
  assert across.equals(shapely.MultiPolygon(parts))
