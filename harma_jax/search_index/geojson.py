"""What was found as GeoJSON (RFC 7946), for maps."""

import json
from collections.abc import Sequence

from harma_jax.errors import UserError
from harma_jax.search_index.outlines import geometry_of
from harma_jax.search_index.query import Hit


def geojson_of(hits: Sequence[Hit]) -> str:
  """A collection of polygons in WGS84, longitude first, of the hits that have a place.

  A box across longitude 180 is a MultiPolygon of its two parts.

  Raises:
    UserError: none has a place.
  """
  features = [
    _feature(hit, rank=rank) for rank, hit in enumerate(hits, 1) if hit.corners
  ]
  if not features:
    raise no_place('--geojson')
  return json.dumps({'type': 'FeatureCollection', 'features': features}, indent=2)


def no_place(flag: str) -> UserError:
  """That a map is asked for of hits without a place."""
  return UserError(
    f'{flag}: expected hits with a georeference; found none. Index GeoTIFFs, with '
    "rasterio installed: pip install 'harma_jax[geo]'"
  )


def _feature(hit: Hit, *, rank: int) -> dict:
  properties = {
    'rank': rank,
    'image': hit.image,
    'similarity': hit.similarity,
    'box': hit.box,
  }
  geometry = geometry_of(hit.corners)
  return {'type': 'Feature', 'properties': properties, 'geometry': geometry}
