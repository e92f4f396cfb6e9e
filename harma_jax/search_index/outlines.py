"""The corners of boxes as polygons on a map: cut at longitude 180, and around poles."""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np

Point = tuple[float, float]  # longitude, latitude in degrees
Ring = list[Point]  # closed, counterclockwise

ANGLE = 2.0  # degrees of longitude, the longest edge that is drawn as a straight line
TINY = 1e-9  # degrees, a tenth of a millimetre


def outline(corners: Sequence[Point]) -> list[Ring]:
  """The polygons that a box covers, each without holes (RFC 7946, section 3.1.9).

  A box is what its four corners say: edges along meridians and parallels where it has
  two longitudes and two latitudes, great circles otherwise. A box whose longitudes go
  around the earth holds a pole.

  Args:
    corners: four, longitudes continuous, see `places`.

  Returns:
    Closed rings, counterclockwise, within -180 and 180: one, or one for each part.
  """
  points = _without_pole([(float(x), float(y)) for x, y in corners])
  if holds_pole(corners):
    points, is_inside = _opened_at_pole(points)
    if is_inside:
      return [_around_pole(points)]
  if not _is_upright(points):
    points = _curved([*points, points[0]])[:-1]
  west, east = min(x for x, _ in points), max(x for x, _ in points)
  if east - west > 360 - 1e-6 and _is_upright(points):  # all around: one part is enough
    points, west, east = [(x - west - 180, y) for x, y in points], -180, 180
  first, last = math.floor((west + 180 + TINY) / 360), (east + 180 - TINY) / 360
  parts = []
  for turn in range(first, math.ceil(last)):
    moved = [(x - 360 * turn, y) for x, y in points]
    parts.append(
      _closed(_beyond(_beyond(moved, limit=-180, sign=1), limit=180, sign=-1))
    )
  return parts


def geometry_of(corners: Sequence[Point]) -> dict:
  """`outline` as a geometry of GeoJSON: a Polygon, or a MultiPolygon of the parts."""
  rings = outline(corners)
  if len(rings) == 1:
    return {'type': 'Polygon', 'coordinates': rings}
  return {'type': 'MultiPolygon', 'coordinates': [[ring] for ring in rings]}


def bounds_of(geometry: dict) -> tuple[float, float, float, float]:
  """West, south, east, north; -180 to 180 of what is cut there."""
  points = list(itertools.chain.from_iterable(rings_of(geometry)))
  x, y = zip(*points, strict=True)
  return min(x), min(y), max(x), max(y)


def rings_of(geometry: dict) -> list[Ring]:
  """All rings of a Polygon or MultiPolygon."""
  parts = geometry['coordinates']
  return parts if geometry['type'] == 'Polygon' else [ring for [ring] in parts]


def holds_pole(corners: Sequence[Point]) -> bool:
  """Whether a box goes around a pole: along its edges, and then the rest of the way."""
  x = [float(point[0]) for point in corners]
  steps = np.diff(x)
  goes_on = (steps > 0).all() or (steps < 0).all()
  return bool(goes_on and abs(steps).max() < 181 and abs(x[3] - x[0]) > 180 - 1e-6)


def _opened_at_pole(points: Ring) -> tuple[Ring, bool]:
  """The same points, and True; or, with a pole on an edge, from there to there."""
  turn = math.copysign(360, points[-1][0] - points[0][0])
  pole = math.copysign(90, sum(y for _, y in points))
  twice = [*points, *((x + turn, y) for x, y in points)]
  for i in range(len(points)):
    if abs(abs(twice[i + 1][0] - twice[i][0]) - 180) < 1e-6:
      path = twice[i + 1 : i + 1 + len(points)]
      return [*path, (path[-1][0], pole), (path[0][0], pole)], False
  return points, True


def _around_pole(points: Ring) -> Ring:
  """From -180 to 180 along the edges, and back along the pole."""
  turn = math.copysign(360, points[-1][0] - points[0][0])
  pole = math.copysign(90, sum(y for _, y in points))
  round_once = _curved([*points, (points[0][0] + turn, points[0][1])])
  # Three times, so that the part from -180 to 180 is among it.
  path = [(x + k * turn, y) for k in (-1, 0, 1) for x, y in round_once[:-1]]
  path += [(path[-1][0], pole), (path[0][0], pole)]
  return _closed(_beyond(_beyond(path, limit=-180, sign=1), limit=180, sign=-1))


def _without_pole(points: Ring) -> Ring:
  """A corner on a pole has the longitudes of both its edges."""
  found = []
  for i, (x, y) in enumerate(points):
    if abs(y) < 90 - TINY:
      found.append((x, y))
    elif not _is_upright(points):
      before, after = points[i - 1], points[(i + 1) % len(points)]
      found += [(before[0], y), (after[0], y)]
    else:
      found.append((x, y))
  return found


def _is_upright(points: Ring) -> bool:
  """Whether the edges are meridians and parallels."""
  return all(
    len({round(value, 9) for value in axis}) == 2 for axis in zip(*points, strict=True)
  )


def _curved(points: Ring) -> Ring:
  """Points between those that are far apart, on the great circles between them."""
  found = [points[0]]
  for start, end in itertools.pairwise(points):
    found += [*_between(start, end), end]
  return found


def _between(start: Point, end: Point) -> Iterable[Point]:
  angle = abs(end[0] - start[0])
  count = math.ceil(angle / ANGLE)
  if count < 2 or angle > 181 or max(abs(start[1]), abs(end[1])) > 90 - TINY:
    return []
  part = np.linspace(0, 1, count + 1)[1:-1, np.newaxis]
  # Equal steps of the chord: denser near the ends, which a drawing does not mind.
  chord = (1 - part) * _vector(start) + part * _vector(end)
  latitude = np.degrees(np.arctan2(chord[:, 2], np.hypot(chord[:, 0], chord[:, 1])))
  longitude = np.degrees(np.arctan2(chord[:, 1], chord[:, 0]))
  straight = start[0] + part[:, 0] * (end[0] - start[0])
  longitude += 360 * np.round((straight - longitude) / 360)
  return list(zip(longitude.tolist(), latitude.tolist(), strict=True))


def _vector(point: Point) -> np.ndarray:
  longitude, latitude = np.radians(point)
  level = math.cos(latitude)
  east, north = level * math.cos(longitude), level * math.sin(longitude)
  return np.array([east, north, math.sin(latitude)])


def _beyond(points: Ring, *, limit: float, sign: int) -> Ring:
  """The part of an open ring where sign * longitude is at least sign * limit."""
  found = []
  for (x, y), (next_x, next_y) in zip(points, [*points[1:], *points[:1]], strict=True):
    inside, next_inside = sign * x >= sign * limit, sign * next_x >= sign * limit
    if inside:
      found.append((x, y))
    if inside != next_inside:
      part = (limit - x) / (next_x - x)
      found.append((float(limit), y + part * (next_y - y)))
  return found


def _closed(points: Ring) -> Ring:
  """Counterclockwise, as a scene may be stored mirrored, without repetitions."""
  points = points if _area(points) >= 0 else points[::-1]
  pairs = zip(points, [*points[1:], *points[:1]], strict=True)
  points = [point for point, following in pairs if math.dist(point, following) > TINY]
  return [*points, points[0]]


def _area(points: Ring) -> float:
  pairs = zip(points, [*points[1:], *points[:1]], strict=True)
  return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairs) / 2
