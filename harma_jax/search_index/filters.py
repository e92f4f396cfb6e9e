"""Which rows of an index lie where one searches.

Compares by shapely, of the extra `geo`.
"""

import math
import pathlib

import numpy as np

from harma_jax.errors import UserError
from harma_jax.search_index import extras
from harma_jax.search_index.wkb import shapes_of

FULL = 360.0


def rows_within(
  corners: np.ndarray, *, bbox: str = '', within: str = ''
) -> np.ndarray | None:
  """The rows whose boxes touch all areas that are given; None where none is.

  Args:
    corners: f64[n, 4, 2], see `Index`; NaN where not known, which touches nothing.
    bbox: of the flag: W,S,E,N in degrees, across longitude 180 where W is above E.
    within: of the flag: a file of GeoJSON with polygons in WGS84.

  Returns:
    bool[n].

  Raises:
    UserError: a flag is no such area, no row touches it, or shapely is not installed.
  """
  areas = [read_bbox(bbox)] if bbox else []
  areas += [read_area(within)] if within else []
  if not areas:
    return None
  rows = np.logical_and.reduce([touches(corners, area) for area in areas])
  if not rows.any():
    placed = np.isfinite(corners).all(axis=(1, 2)).sum()
    flags = ' and '.join([*['--bbox'] * bool(bbox), *['--within'] * bool(within)])
    raise UserError(
      f'{flags}: expected an area that the index has something of; found none in it of '
      f'{placed:,} with a place ({len(corners) - placed:,} have none). Longitude comes '
      'first: --bbox=W,S,E,N.'
    )
  return rows


def touches(corners: np.ndarray, area) -> np.ndarray:
  """Whether boxes have a point in common with an area of shapely, bool[n]."""
  shapely = extras.shapely('--bbox')
  _, south, _, north = area.bounds
  latitudes = corners[..., 1]
  near = (latitudes.max(axis=1) >= south) & (latitudes.min(axis=1) <= north)
  # Edges of wide boxes, and what lies around a pole, reach beyond their corners.
  with np.errstate(invalid='ignore'):
    near |= np.ptp(corners[..., 0], axis=1) > 1
  rows = np.flatnonzero(near & np.isfinite(corners).all(axis=(1, 2)))
  shapely.prepare(area)
  outlines = shapely.from_wkb(shapes_of(corners[rows]).wkb)
  found = np.zeros(len(corners), bool)
  found[rows] = shapely.intersects(area, outlines)
  return found


def read_bbox(text: str):
  """W,S,E,N as a geometry of shapely, within longitudes -180 and 180.

  Raises:
    UserError: it is none.
  """
  try:
    west, south, east, north = map(float, text.split(','))
    is_right = -90 <= south < north <= 90 and max(abs(west), abs(east)) <= FULL
  except ValueError:
    is_right = False
  if not is_right:
    raise UserError(
      f'--bbox: expected W,S,E,N in degrees, longitude first, S below N, as in '
      f'--bbox=5.9,45.8,10.5,47.8; found {text!r}.'
    )
  shapely = extras.shapely('--bbox')
  east += FULL if east < west else 0
  return _wrapped(shapely.box(west, south, min(east, west + FULL), north))


def read_area(path: str):
  """The polygons of a file of GeoJSON as one geometry of shapely, as `read_bbox`.

  Raises:
    UserError: it cannot be read, has no polygons, or is not in WGS84.
  """
  shapely = extras.shapely('--within')
  wanted = f'--within={path}: expected GeoJSON with polygons in WGS84'
  try:
    found = shapely.from_geojson(pathlib.Path(path).expanduser().read_bytes())
  except (OSError, UnicodeError, shapely.errors.GEOSException) as error:
    raise UserError(
      f'{wanted}; found: {error}. Make it: ogr2ogr -f GeoJSON -lco RFC7946=YES '
      'OUT.geojson IN'
    ) from error
  parts = _flat(shapely.make_valid(_flat(found)))
  polygons = parts[shapely.get_dimensions(parts) == 2]
  if not len(polygons):
    kinds = sorted({part.geom_type for part in parts})
    raise UserError(
      f'{wanted}; found {", ".join(kinds) or "nothing"}. Draw an area, or buffer these.'
    )
  area = shapely.union_all(polygons)
  west, south, east, north = area.bounds
  if max(-south, north) > 90 or max(-west, east) > FULL:
    raise UserError(
      f'{wanted}; found coordinates up to {max(east, north):,.0f}, which are no '
      'degrees. Convert it: ogr2ogr -f GeoJSON -lco RFC7946=YES OUT.geojson IN'
    )
  return _wrapped(area)


def _flat(geometry) -> np.ndarray:
  """All single geometries in collections of collections."""
  shapely = extras.shapely('--bbox')
  parts = shapely.get_parts(geometry)
  while (shapely.get_type_id(parts) > 3).any():
    parts = shapely.get_parts(parts)
  return parts


def _wrapped(area):
  """The same area where longitudes are between -180 and 180."""
  shapely = extras.shapely('--bbox')
  west, _, east, _ = area.bounds
  if west >= -180 and east <= 180:
    return area
  world = shapely.box(-180, -90, 180, 90)
  turns = range(math.floor((west + 180) / FULL), math.ceil((east + 180) / FULL))
  moved = [
    shapely.transform(area, lambda points, by=turn: points - [FULL * by, 0])
    for turn in turns
  ]
  return shapely.union_all(shapely.intersection(moved, world))
