"""Hits as GeoParquet, read by geopandas and DuckDB."""

import json

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.geoparquet import CRS84, geoparquet_of
from harma_jax.search_index.query import Hit

pq = pytest.importorskip('pyarrow.parquet')

CORNERS = ((8.0, 47.0), (8.0, 46.0), (9.0, 46.0), (9.0, 47.0))
ACROSS = ((179.0, 1.0), (179.0, 0.0), (181.0, 0.0), (181.0, 1.0))


@pytest.fixture
def path(tmp_path):
  """A file of two hits, of three that were found."""
  places = [CORNERS, None, ACROSS]
  hits = [Hit(f'{i}.tif', 0.5, (1, 2, 3, 4), place) for i, place in enumerate(places)]
  (tmp_path / 'hits.parquet').write_bytes(geoparquet_of(hits))
  return tmp_path / 'hits.parquet'


def test_the_metadata_is_that_of_geoparquet_1_1(path):
  about = json.loads(pq.read_schema(path).metadata[b'geo'])
  assert about['version'] == '1.1.0'
  column = about['columns'][about['primary_column']]
  assert column['encoding'] == 'WKB'
  assert column['geometry_types'] == ['MultiPolygon', 'Polygon']
  assert column['crs'] == CRS84
  assert column['bbox'] == [-180, 0, 180, 47]
  assert column['covering']['bbox']['xmax'] == ['bbox', 'xmax']
  first = pq.read_table(path)['bbox'][0].as_py()
  assert first == {'xmin': 8, 'ymin': 46, 'xmax': 9, 'ymax': 47}


def test_the_system_is_longitude_and_latitude():
  pyproj = pytest.importorskip('pyproj')
  found = pyproj.CRS.from_json_dict(CRS84)
  assert found.equals(pyproj.CRS('OGC:CRS84'))
  assert [axis.direction for axis in found.axis_info] == ['east', 'north']


def test_geopandas_reads_it(path):
  geopandas, shapely = map(pytest.importorskip, ('geopandas', 'shapely'))
  table = geopandas.read_parquet(path)
  assert table['rank'].tolist() == [1, 3]
  assert table['image'].tolist() == ['0.tif', '2.tif']
  assert table.crs == 'OGC:CRS84'
  assert table.geometry[0].equals(shapely.box(8, 46, 9, 47))
  np.testing.assert_allclose(shapely.area(table.geometry.values), [1, 2])
  assert len(geopandas.read_parquet(path, bbox=(8, 40, 10, 50))) == 1


def test_duckdb_reads_it(path):
  duckdb = pytest.importorskip('duckdb')
  query = f"select image from '{path}' where bbox.xmin < 9 and bbox.ymin > 40"
  assert duckdb.sql(query).fetchall() == [('0.tif',)]


def test_without_a_place_there_is_one_message():
  with pytest.raises(UserError, match='--geoparquet: expected hits with a georef'):
    geoparquet_of([Hit('a.tif', 0.5, (1, 2, 3, 4), None)])
