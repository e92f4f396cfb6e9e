"""Large TIFF scenes window by window, and where on the earth their pixels lie.

Reads through rasterio, of the extra `geo`.
"""

import contextlib
import importlib.util
import pathlib
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from harma_jax.errors import UserError
from harma_jax.search_index import places

SUFFIXES = ('.tif', '.tiff')


def can_read(path: pathlib.Path) -> bool:
  """Whether a file is a TIFF by its ending, and rasterio is installed."""
  is_installed = importlib.util.find_spec('rasterio') is not None
  return is_installed and path.suffix.lower() in SUFFIXES


def read_size(path: pathlib.Path) -> tuple[int, int]:
  """Width and height of a scene as its pixels are stored.

  Raises:
    UserError: it cannot be read.
  """
  with _opened(path) as scene:
    return scene.width, scene.height


def read_windows(path: pathlib.Path, boxes: np.ndarray) -> list[Image.Image | None]:
  """The pixels of some boxes as RGB; None where the file marks all as no data.

  Only the blocks that the boxes touch are decoded. The red, green and blue bands where
  the file names them, else the first three, or a single band as grey. 16 bits become
  `round(value / 257)`: the full range, never stretched, as for all images here.

  Args:
    path: of the scene.
    boxes: i32[n, 4]: left, top, width, height.

  Raises:
    UserError: it cannot be read, or its bands are neither of 8 nor of 16 bits.
  """
  with _opened(path) as scene:
    return [_read_window(scene, box) for box in boxes.tolist()]


def read_corners(path: pathlib.Path, boxes: np.ndarray) -> np.ndarray | None:
  """Longitude and latitude of the corners of boxes, in WGS84.

  Args:
    path: of the scene.
    boxes: i32[n, 4]: left, top, width, height.

  Returns:
    f64[n, 4, 2], from the top left over the bottom left; None for a file without
    georeference (ground control points alone are none).

  Raises:
    UserError: it cannot be read, or its coordinates are not those of the earth.
  """
  with _opened(path) as scene:
    corners, _ = places.read_corners(scene, boxes)
    return corners


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator:
  import rasterio

  warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
  try:
    # One driver: each more is one more that a stranger's file can attack.
    with rasterio.open(path, driver='GTiff') as scene:
      yield scene
  except (rasterio.errors.RasterioError, rasterio.errors.CRSError, ValueError) as error:
    raise UserError(
      f'{path}: expected a readable TIFF of 8 or 16 bits a band; found: {error}. '
      'Replace the file, or convert it: gdal_translate -ot Byte -scale IN OUT'
    ) from error


def _read_window(scene, box: Sequence[int]) -> Image.Image | None:
  from rasterio.windows import Window

  window = Window(*box)
  if not scene.dataset_mask(window=window).any():
    return None
  bands = scene.read(_bands(scene), window=window)
  if scene.colorinterp[0].name == 'palette':
    return Image.fromarray(_palette(scene)[bands[0]])
  if bands.dtype not in (np.uint8, np.uint16):
    raise ValueError(f'{bands.dtype} bands, whose range is unknown')
  if bands.dtype == np.uint16:
    bands = ((bands.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
  pixels = np.moveaxis(np.broadcast_to(bands, (3, *bands.shape[1:])), 0, -1)
  return Image.fromarray(np.ascontiguousarray(pixels))


def _bands(scene) -> list[int]:
  """Which bands are read, counted from 1: three, or one of grey or a palette."""
  number = {color.name: i for i, color in enumerate(scene.colorinterp, start=1)}
  named = [number[name] for name in ('red', 'green', 'blue') if name in number]
  if len(named) == 3:
    return named
  return [1, 2, 3] if scene.count >= 3 else [1]


def _palette(scene) -> np.ndarray:
  """u8[n, 3], the colours by the values of the band."""
  colors = scene.colormap(1)
  table = np.zeros((max(colors) + 1, 3), np.uint8)
  for value, color in colors.items():
    table[value] = color[:3]
  return table
