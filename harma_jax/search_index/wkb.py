"""The outlines of many boxes as well-known binary: a whole index in seconds."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from harma_jax.search_index import extras
from harma_jax.search_index.outlines import ANGLE, TINY, Ring, outline

POLYGON, MULTIPOLYGON = 3, 6

# A polygon of one ring of five points, as most boxes are.
_BOX = np.dtype(
  {
    'names': ['order', 'kind', 'rings', 'points', 'ring'],
    'formats': ['u1', '<u4', '<u4', '<u4', ('<f8', (5, 2))],
    'offsets': [0, 1, 5, 9, 13],
  }
)


class Shapes(NamedTuple):
  """Outlines of n boxes.

  Attributes:
    wkb: little endian; None where the corners are not known.
    bounds: f64[n, 4]: west, south, east, north; of what is cut at longitude 180 from
      -180 to 180; NaN where not known.
    is_multi: bool[n], whether it is a MultiPolygon.
  """

  wkb: Sequence[bytes | None]
  bounds: np.ndarray
  is_multi: np.ndarray


def shapes_of(corners: np.ndarray) -> Shapes:
  """The outlines of boxes: see `outlines.outline`.

  Args:
    corners: f64[n, 4, 2], NaN where not known.
  """
  wkb, bounds = [None] * len(corners), np.full((len(corners), 4), np.nan)
  is_multi = np.zeros(len(corners), bool)
  is_plain = _is_plain(corners)
  for row, shape in zip(
    np.flatnonzero(is_plain), _boxes(corners[is_plain]), strict=True
  ):
    wkb[row] = shape
  lowest, highest = corners[is_plain].min(axis=1), corners[is_plain].max(axis=1)
  bounds[is_plain] = np.concatenate([lowest, highest], axis=1)
  for row in np.flatnonzero(np.isfinite(corners).all(axis=(1, 2)) & ~is_plain):
    rings = outline(corners[row].tolist())
    points = np.concatenate([np.array(ring) for ring in rings])
    bounds[row] = [*points.min(axis=0), *points.max(axis=0)]
    wkb[row], is_multi[row] = _shape(rings), len(rings) > 1
  return Shapes(wkb, bounds, is_multi)


def corners_of(wkb: Sequence[bytes | None]) -> np.ndarray:
  """The corners of boxes that are outlined, f64[n, 4, 2], NaN where there is no area.

  From the top left over the bottom left, longitudes continuous, as `shapes_of` takes
  them. Of what is no quadrangle those of the box around it.

  Raises:
    UserError: outlines that are no plain boxes, without shapely.
  """
  corners = np.full((len(wkb), 4, 2), np.nan)
  head = np.array((1, POLYGON, 1, 5, 0), _BOX).tobytes()[: _BOX.fields['ring'][1]]
  is_box = np.array(
    [bool(one) and len(one) == _BOX.itemsize and one.startswith(head) for one in wkb],
    bool,
  )
  boxes = b''.join(one for one, found in zip(wkb, is_box, strict=True) if found)
  corners[is_box] = np.frombuffer(boxes, _BOX)['ring'][:, :4]
  for row in np.flatnonzero(~is_box):
    if wkb[row]:
      corners[row] = _quadrangle(wkb[row])
  return _ordered(corners)


def _quadrangle(wkb: bytes) -> np.ndarray:
  """The four corners of any shape, f64[4, 2]; of two parts across longitude 180 too."""
  shapely = extras.shapely('--index')
  shape = shapely.from_wkb(wkb, on_invalid='ignore')
  if shape is None or not shape.area:
    return np.full((4, 2), np.nan)
  west, _, east, _ = shape.bounds
  if (west, east) == (-180, 180) and shape.geom_type == 'MultiPolygon':
    shape = shapely.transform(
      shape, lambda points: np.stack([points[:, 0] % 360, points[:, 1]], axis=1)
    )
  hull = shapely.simplify(shapely.convex_hull(shape), 1e-9)
  ring = shapely.get_coordinates(
    hull if len(hull.exterior.coords) == 5 else hull.envelope
  )
  return ring[:4]


def _ordered(corners: np.ndarray) -> np.ndarray:
  """The same counterclockwise from the top left, in continuous longitudes."""
  corners = corners.copy()
  x = corners[..., 0]
  with np.errstate(invalid='ignore'):
    split = np.ptp(x, axis=1) > 180
    split &= np.ptp(x, axis=1) < 360
    x[split] = x[split] % 360
    middle = x.mean(axis=1)
    x -= (360 * np.floor((middle + 180) / 360))[:, None]
    backwards = _twice_area(corners) < 0
    corners[backwards] = corners[backwards, ::-1]
    spread = corners - corners.mean(axis=1, keepdims=True)
    spread /= np.maximum(np.ptp(corners, axis=1, keepdims=True), TINY)
    first = (spread[..., 1] - spread[..., 0]).argmax(axis=1)
  order = (first[:, None] + np.arange(4)) % 4
  return np.take_along_axis(corners, order[..., None], axis=1)


def _twice_area(corners: np.ndarray) -> np.ndarray:
  x, y = np.moveaxis(corners, -1, 0)
  return (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)


def _is_plain(corners: np.ndarray) -> np.ndarray:
  """Whether the outline is the corners themselves, bool[n]."""
  x, y = corners[..., 0], corners[..., 1]
  is_within = (np.abs(x) <= 180).all(axis=1) & (np.abs(y) < 89).all(axis=1)
  return is_within & (np.ptp(x, axis=1) < ANGLE)


def _boxes(corners: np.ndarray) -> list[bytes]:
  rings = np.where(
    (_twice_area(corners) >= 0)[:, None, None], corners, corners[:, ::-1]
  )
  boxes = np.empty(len(corners), _BOX)
  boxes['order'], boxes['kind'], boxes['rings'], boxes['points'] = 1, POLYGON, 1, 5
  boxes['ring'] = np.concatenate([rings, rings[:, :1]], axis=1)
  packed, size = boxes.tobytes(), _BOX.itemsize
  return [packed[i : i + size] for i in range(0, len(packed), size)]


def _shape(rings: Sequence[Ring]) -> bytes:
  polygons = [
    struct.pack('<BIII', 1, POLYGON, 1, len(ring)) + np.array(ring, '<f8').tobytes()
    for ring in rings
  ]
  if len(polygons) == 1:
    return polygons[0]
  return struct.pack('<BII', 1, MULTIPOLYGON, len(polygons)) + b''.join(polygons)
