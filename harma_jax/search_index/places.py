"""Where on the earth the pixels of a scene lie.

Reads through rasterio, of the extra `geo`. Longitudes of one box are continuous: a box
across longitude 180 has 179.9 and 180.1, or the same less 360, and a box around a pole
goes once around the earth. Those who draw or compare them wrap them: see `outlines`.
"""

import contextlib
import functools
import pathlib
import re
import types
from collections.abc import Callable, Sequence

import numpy as np

from harma_jax.search_index import extras

WGS84 = 'EPSG:4326'
STEPS = 16  # points of an edge that is followed to keep its longitudes continuous
WIDE = 90.0  # degrees, from where on edges are followed
# From so many control points on the earth's relief is in them, which no polynomial has.
RELIEF_POINTS = 10
PRJ_BYTES, WORLD_BYTES = 2**16, 2**10
_NAMELESS = ('unknown', 'unnamed', '')  # GDAL's words for what has no name
_NO_DEGREES = 'its coordinates cannot become longitude and latitude'

# Columns and rows, from the top left corner of the top left pixel, to coordinates.
Place = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def read_corners(scene, boxes: np.ndarray) -> tuple[np.ndarray | None, str]:
  """Longitude and latitude of the corners of boxes, in WGS84.

  By the scene's geotransform, or a world file with a `.prj` beside it; else by its
  ground control points; else by its rational polynomials, at their mean height.

  Args:
    scene: an open rasterio dataset.
    boxes: i32[n, 4]: left, top, width, height in pixels as they are stored.

  Returns:
    f64[n, 4, 2] in degrees, from the top left over the bottom left, NaN for boxes with
    a corner that is not on the earth, or None where no box has a place; and why a box
    of the scene may have none, the same for all boxes of a scene, '' where all have.
  """
  locate, by = _locator(scene)
  if locate is None:
    return None, by
  sampled = _sampled(locate, scene)
  known = np.isfinite(sampled).all(axis=0)
  if not known.any():
    return None, f'{_NO_DEGREES} ({by})'
  reason = '' if known.all() else f'parts of it are not on the earth ({by})'
  left, top, width, height = boxes.T.astype(np.float64)
  columns = np.stack([left, left, left + width, left + width], axis=1)
  rows = np.stack([top, top + height, top + height, top], axis=1)
  corners = np.stack(locate(columns, rows), axis=-1)
  corners[~np.isfinite(corners).all(axis=(1, 2))] = np.nan
  spread = np.nanmax(sampled[0]) - np.nanmin(sampled[0])
  # Of a world map the west is the east, as far as four corners show.
  wide = (spread > WIDE) | (np.ptp(corners[..., 0], axis=1) > WIDE)
  if wide.any():
    corners[wide, :, 0] = _followed(locate, columns[wide], rows[wide])
    corners[~np.isfinite(corners).all(axis=(1, 2))] = np.nan
  middle = corners[..., 0].mean(axis=1)
  corners[..., 0] -= (360 * np.floor((middle + 180) / 360))[:, np.newaxis]
  return (None if np.isnan(corners).all() else corners), reason


def read_corners_beside(
  path: pathlib.Path, boxes: np.ndarray, *, size: tuple[int, int]
) -> tuple[np.ndarray | None, str]:
  """As `read_corners`, of an image whose place is in a world file beside it.

  Args:
    path: of the image.
    boxes: i32[n, 4]: left, top, width, height in pixels as they are stored.
    size: width and height of the image.
  """
  world = _world_file(path)
  if not world:
    return None, 'it has no georeference'
  try:
    from rasterio import Affine

    with world.open() as file:
      a, d, b, e, x, y = map(float, file.read(WORLD_BYTES).split()[:6])
  except ImportError:
    return None, 'it has a world file, which rasterio is to read'
  except (OSError, ValueError):
    return None, f'{world.suffix} beside it is no world file'
  # It speaks of the middle of the first pixel.
  transform = Affine(a, b, x - (a + b) / 2, d, e, y - (d + e) / 2)
  width, height = size
  scene = types.SimpleNamespace(
    name=path, crs=None, transform=transform, width=width, height=height
  )
  return read_corners(scene, boxes)


def _world_file(path: pathlib.Path) -> pathlib.Path | None:
  """As GDAL looks for it: `.jgw`, `.jpgw` or `.wld` beside `.jpg`."""
  ending = path.suffix[1:]
  for word in (f'{ending[:1]}{ending[-1:]}w', f'{ending}w', 'wld'):
    for spelled in (word.lower(), word.upper()):
      found = path.with_suffix(f'.{spelled}')
      if found.is_file():
        return found
  return None


def to_utm(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Corners in the UTM zones of the boxes' middles.

  Args:
    corners: f64[n, 4, 2], longitude and latitude in WGS84, NaN where not known.

  Returns:
    f64[n, 4, 2], east and north in metres, and i32[n], the zones' EPSG codes, 0 where
    not known.

  Raises:
    UserError: places are known, and rasterio is not installed.
  """
  longitude, latitude = corners.mean(axis=1).T
  known = np.isfinite(longitude)
  zone = np.floor((np.where(known, longitude, 0) + 180) / 6 % 60).astype(np.int32) + 1
  codes = np.where(known, zone + np.where(latitude < 0, 32700, 32600), 0)
  metres = np.full(corners.shape, np.nan)
  for code in set(codes.tolist()) - {0}:
    warp = extras.rasterio('--out').warp
    here = codes == code
    x, y = corners[here].reshape(-1, 2).T
    found = warp.transform(WGS84, f'EPSG:{code}', x, y)
    metres[here] = np.stack(found, axis=-1).reshape(-1, 4, 2)
  return metres, codes


def _followed(locate: Place, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Longitudes of corners, f64[n, 4], continuous along the edges between them."""
  part = np.linspace(0, 1, STEPS, endpoint=False)

  def along(values):
    edges = values[:, :3, np.newaxis] + np.diff(values)[..., np.newaxis] * part
    return np.concatenate([edges.reshape(len(values), -1), values[:, 3:]], axis=1)

  longitudes, latitudes = locate(along(columns), along(rows))
  # A pole has any longitude: that of the point before it, or after the first. Where
  # maps have a whole edge of poles, each has its own.
  on_pole = np.abs(latitudes) > 90 - 1e-9
  alone = on_pole & ~np.pad(on_pole, ((0, 0), (1, 0)))[:, :-1]
  beside = np.concatenate([longitudes[:, 1:2], longitudes[:, :-1]], axis=1)
  longitudes = np.where(alone, beside, longitudes)
  steps = np.diff(longitudes)
  steps -= 360 * np.round(steps / 360)
  # An edge over a pole may go either way round: as the others do.
  over_pole = np.abs(steps) > 180 - 1e-6
  turn = np.sign(np.where(over_pole, 0, steps).sum(axis=1, keepdims=True))
  steps = np.where(over_pole, 180 * turn, steps)
  turned = np.cumsum(np.pad(steps, ((0, 0), (1, 0))), axis=1)[:, ::STEPS]
  return longitudes[:, :1] + turned


def _locator(scene) -> tuple[Place | None, str]:
  """Pixels to longitude and latitude, NaN where there is none, and by what system.

  Or None, and why there are none for all of the scene.
  """
  place, crs, reason = _placed(scene)
  if place is None:
    return None, reason
  if crs is None:
    return None, 'its coordinates have no coordinate system'
  if not (crs.is_geographic or crs.is_projected):
    # GDAL would take heights and local metres for degrees.
    return None, f'{_NO_DEGREES} ({_name(crs)})'
  # Grids of cells around the poles reach half a cell beyond them.
  has_cells = crs.is_geographic and not scene.transform.is_identity
  limit = 90 + (abs(scene.transform.e) / 2 if has_cells else 0)

  def locate(columns, rows):
    x, y = place(columns.ravel(), rows.ravel())
    longitude, latitude = _to_degrees(crs, np.asarray(x), np.asarray(y))
    known = np.isfinite(longitude) & (np.abs(latitude) <= limit)
    longitude = np.where(known, longitude, np.nan)
    latitude = np.where(known, np.clip(latitude, -90, 90), np.nan)
    return longitude.reshape(columns.shape), latitude.reshape(columns.shape)

  return locate, _name(crs)


def _sampled(locate: Place, scene) -> np.ndarray:
  """Longitude and latitude of a few points of a scene, f64[2, n], NaN where none."""
  columns, rows = np.linspace(0, scene.width, 5), np.linspace(0, scene.height, 5)
  return np.stack(locate(*np.meshgrid(columns, rows))).reshape(2, -1)


def _placed(scene) -> tuple:
  """Pixels to coordinates as a `Place`, their system, and '', or None and why not."""
  crs, transform = _crs_of(scene), scene.transform
  if not transform.is_identity:
    if not np.isfinite(transform[:6]).all() or not transform.determinant:
      return None, crs, 'its transform puts all pixels on one line'
    return functools.partial(_by_transform, transform), crs, ''
  points, points_crs = scene.gcps
  if points:
    return _placed_by_points(points, points_crs)
  if scene.rpcs:
    from rasterio.crs import CRS

    return functools.partial(_by_polynomials, scene.rpcs), CRS.from_string(WGS84), ''
  if crs is None:
    return None, None, 'it has no georeference'
  return None, crs, f'it has a coordinate system and no transform ({_name(crs)})'


def _by_transform(transform, columns: np.ndarray, rows: np.ndarray) -> tuple:
  to = transform
  x = to.a * columns + to.b * rows + to.c
  return x, to.d * columns + to.e * rows + to.f


def _placed_by_points(points: Sequence, crs) -> tuple:
  """As `_placed`, of ground control points."""
  if crs is not None and crs.is_geographic:
    points = _unwrapped(points)
  place = functools.partial(_by_points, points)
  try:
    place(np.zeros(1), np.zeros(1))
  except (ValueError, *_gdal_errors()) as error:
    return None, crs, f'its {len(points)} ground control points do not fit: {error}'
  return place, crs, ''


def _by_points(points: Sequence, columns: np.ndarray, rows: np.ndarray) -> tuple:
  from rasterio.transform import GCPTransformer

  with GCPTransformer(points, tps=len(points) >= RELIEF_POINTS) as transformer:
    return transformer.xy(rows, columns, offset='ul')


def _unwrapped(points: Sequence) -> list:
  """Control points whose longitudes do not jump at longitude 180."""
  from rasterio.control import GroundControlPoint

  x = np.array([point.x for point in points])
  x = x[0] + (x - x[0] + 180) % 360 - 180
  return [
    GroundControlPoint(row=point.row, col=point.col, x=new, y=point.y)
    for point, new in zip(points, x.tolist(), strict=True)
  ]


def _by_polynomials(rpcs, columns: np.ndarray, rows: np.ndarray) -> tuple:
  from rasterio.transform import RPCTransformer

  with RPCTransformer(rpcs, RPC_HEIGHT=rpcs.height_off) as transformer:
    return transformer.xy(rows, columns, offset='ul')


def _to_degrees(crs, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Longitude and latitude, NaN for what is not on the earth."""
  from rasterio import warp

  def transformed(x, y):
    return np.array(warp.transform(crs, WGS84, x, y))

  found = np.full((2, len(x)), np.nan)
  try:
    return tuple(transformed(x, y))
  except _gdal_errors() as error:
    if type(error).__name__ == 'CPLE_NotSupportedError':
      return tuple(found)  # no way leads from these coordinates to the earth's
  # One point off the earth fails all.
  for i in range(len(x)):
    with contextlib.suppress(*_gdal_errors()):
      found[:, i] = transformed(x[i : i + 1], y[i : i + 1])[:, 0]
  return tuple(found)


def _crs_of(scene):
  """Its coordinate system, or that of a `.prj` beside it; None where there is none."""
  from rasterio.crs import CRS
  from rasterio.errors import CRSError

  with contextlib.suppress(CRSError, OSError):
    if scene.crs is not None or scene.transform.is_identity:
      return scene.crs
    with pathlib.Path(scene.name).with_suffix('.prj').open() as file:
      return CRS.from_wkt(file.read(PRJ_BYTES), morph_from_esri_dialect=True)
  return None


def _name(crs) -> str:
  """As it calls itself, `EPSG:32631` or the first name in its text; or a projection."""
  text = crs.to_string()
  match = re.match(r'\w+\["([^"]*)"', text)
  name = match[1] if match else text[:60]
  if name not in _NAMELESS:
    return name
  projection = re.search(r'PROJECTION\["([^"]*)"', text)
  return projection[1].replace('_', ' ') if projection else 'a system without a name'


def _gdal_errors() -> tuple[type[Exception], ...]:
  """What GDAL's own complaints are raised as; rasterio has no public name for it."""
  from rasterio._err import CPLE_BaseError
  from rasterio.errors import RasterioError

  return CPLE_BaseError, RasterioError
