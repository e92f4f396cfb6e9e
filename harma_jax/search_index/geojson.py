"""What was found as GeoJSON (RFC 7946), for maps."""

import json
from collections.abc import Sequence

from harma_jax.search_index.outlines import geometry_of
from harma_jax.search_index.query import Hit
from harma_jax.search_index.records import placed


def geojson_of(hits: Sequence[Hit]) -> str:
  """A collection of polygons in WGS84, longitude first, of the hits that have a place.

  A box across longitude 180 is a MultiPolygon of its two parts.

  Raises:
    UserError: none has a place.
  """
  features = [_feature(hit, rank=rank) for rank, hit in placed(hits, flag='--geojson')]
  return json.dumps({'type': 'FeatureCollection', 'features': features}, indent=2)


def _feature(hit: Hit, *, rank: int) -> dict:
  properties = {
    'rank': rank,
    'image': hit.image,
    'similarity': hit.similarity,
    'box': hit.box,
  }
  geometry = geometry_of(hit.corners)
  return {'type': 'Feature', 'properties': properties, 'geometry': geometry}
