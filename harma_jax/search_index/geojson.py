"""What was found as GeoJSON (RFC 7946), for maps."""

import json
from collections.abc import Sequence

from harma_jax.errors import UserError
from harma_jax.search_index.query import Hit


def geojson_of(hits: Sequence[Hit]) -> str:
  """A collection of polygons in WGS84, longitude first, of the hits that have a place.

  A box that crosses the antimeridian is not cut there.

  Raises:
    UserError: none has a place.
  """
  features = [
    _feature(hit, rank=rank) for rank, hit in enumerate(hits, 1) if hit.corners
  ]
  if not features:
    raise UserError(
      '--geojson: expected hits with a georeference; found none. Index GeoTIFFs, with '
      "rasterio installed: pip install 'harma_jax[geo]'"
    )
  return json.dumps({'type': 'FeatureCollection', 'features': features}, indent=2)


def _feature(hit: Hit, *, rank: int) -> dict:
  properties = {
    'rank': rank,
    'image': hit.image,
    'similarity': hit.similarity,
    'box': hit.box,
  }
  ring = _ring(hit.corners)
  geometry = {'type': 'Polygon', 'coordinates': [ring]}
  return {'type': 'Feature', 'properties': properties, 'geometry': geometry}


def _ring(corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
  """A closed ring, counterclockwise: a scene may be stored mirrored."""
  pairs = list(zip(corners, [*corners[1:], corners[0]], strict=True))
  twice_area = sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairs)
  ordered = list(corners) if twice_area >= 0 else list(reversed(corners))
  return [*ordered, ordered[0]]
