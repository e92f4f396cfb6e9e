"""Tables with outlines as GeoParquet 1.1: geopandas, QGIS and DuckDB read them.

Writes through pyarrow, of the extra `parquet`.
"""

import io
import json
from collections.abc import Sequence

import numpy as np

from harma_jax.search_index import extras
from harma_jax.search_index.query import Hit
from harma_jax.search_index.records import COLUMNS, placed, record_of
from harma_jax.search_index.wkb import Shapes, shapes_of

SIDES = ('xmin', 'ymin', 'xmax', 'ymax')

# Longitude, then latitude, on WGS84; as PROJJSON has it.
CRS84 = {
  '$schema': 'https://proj.org/schemas/v0.7/projjson.schema.json',
  'type': 'GeographicCRS',
  'name': 'WGS 84 longitude-latitude',
  'datum': {
    'type': 'GeodeticReferenceFrame',
    'name': 'World Geodetic System 1984',
    'ellipsoid': {
      'name': 'WGS 84',
      'semi_major_axis': 6378137,
      'inverse_flattening': 298.257223563,
    },
  },
  'coordinate_system': {
    'subtype': 'ellipsoidal',
    'axis': [
      {
        'name': f'Geodetic {name.lower()}',
        'abbreviation': name[:3],
        'direction': direction,
        'unit': 'degree',
      }
      for name, direction in (('Longitude', 'east'), ('Latitude', 'north'))
    ],
  },
  'id': {'authority': 'OGC', 'code': 'CRS84'},
}


def geoparquet_of(hits: Sequence[Hit]) -> bytes:
  """A file of the hits that have a place, with `COLUMNS`, `geometry` and `bbox`.

  Raises:
    UserError: none has a place, or pyarrow is not installed.
  """
  pa, pq = extras.pyarrow('--geoparquet')
  found = placed(hits, flag='--geoparquet')
  records = [record_of(hit, rank=rank) for rank, hit in found]
  columns = {name: pa.array([record[name] for record in records]) for name in COLUMNS}
  shapes = shapes_of(np.array([hit.corners for _, hit in found]))
  table = pa.table(columns | shape_columns(shapes))
  content = io.BytesIO()
  pq.write_table(
    table.replace_schema_metadata(geo_metadata(shapes)), content, compression='zstd'
  )
  return content.getvalue()


def shape_columns(shapes: Shapes) -> dict:
  """The columns `geometry` (WKB) and `bbox`, which lets readers skip by place."""
  pa, _ = extras.pyarrow('--geoparquet')
  known = np.isfinite(shapes.bounds).all(axis=1)
  sides = [pa.array(side) for side in shapes.bounds.T]
  bbox = pa.StructArray.from_arrays(sides, SIDES, mask=pa.array(~known))
  return {'geometry': pa.array(shapes.wkb, pa.binary()), 'bbox': bbox}


def geo_metadata(shapes: Shapes) -> dict[str, str]:
  """What GeoParquet 1.1 says of the columns of `shape_columns`."""
  known = np.isfinite(shapes.bounds).all(axis=1)
  names = np.where(shapes.is_multi[known], 'MultiPolygon', 'Polygon')
  column = {
    'encoding': 'WKB',
    'geometry_types': sorted(set(names.tolist())),
    'crs': CRS84,
    'orientation': 'counterclockwise',
    'edges': 'planar',
    'covering': {'bbox': {side: ['bbox', side] for side in SIDES}},
  }
  if known.any():
    bounds = shapes.bounds[known]
    column['bbox'] = [*bounds[:, :2].min(axis=0), *bounds[:, 2:].max(axis=0)]
  content = {'version': '1.1.0', 'primary_column': 'geometry'}
  return {'geo': json.dumps(content | {'columns': {'geometry': column}})}
