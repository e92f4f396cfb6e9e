"""Training images as u8 canvases of one shape, kept in memory or read when needed."""

import concurrent.futures
import dataclasses
import os
from typing import NamedTuple

import numpy as np
from absl import logging
from PIL import Image

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.headers import read_headers
from harma_jax.data.images import MAX_PIXELS, read_image
from harma_jax.raster.how import DEFAULT, How

CACHES = ('device', 'host', 'stream')  # from the nearest to the farthest
LONGEST = 2  # times the shorter side
# Of the memory that is free: the rest is for weights, activations, other programs.
SHARE_OF_DEVICE, SHARE_OF_HOST = 0.4, 0.5


class Pixels(NamedTuple):
  """Images at the top left of their canvases; what lies beyond is 0.

  Attributes:
    images: u8[n, H, W, 3].
    sizes: i32[n, 2], height and width.
  """

  images: np.ndarray
  sizes: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelStore:
  """The images of a table by row, shrunk; any number of threads may ask.

  Attributes:
    table: whose images.
    side: pixels of the shorter side; a smaller image stays as it is.
    shape: height and width of the canvas that all of them fit.
    kept: all images, or None where each is read when asked for.
    max_pixels: of an image file.
    how: what the user says of bands and values.
  """

  table: CaptionTable
  side: int
  shape: tuple[int, int]
  kept: Pixels | None = None
  max_pixels: int = MAX_PIXELS
  how: How = DEFAULT

  @property
  def n_bytes(self) -> int:
    """What all images take in memory, kept or not."""
    return self.table.n_images * self.shape[0] * self.shape[1] * 3

  def take(self, rows: np.ndarray, *, threads: int = 1) -> Pixels:
    """The images of some rows.

    Raises:
      UserError: a file cannot be read.
    """
    if self.kept is not None:
      return Pixels(self.kept.images[rows], self.kept.sizes[rows])
    return self._read(rows, threads=threads)

  def keep(self, *, threads: int) -> 'PixelStore':
    """A store that has read all images.

    Raises:
      UserError: a file cannot be read: found now and not in the middle of training.
    """
    rows = np.arange(self.table.n_images)
    return dataclasses.replace(self, kept=self._read(rows, threads=threads))

  def _read(self, rows: np.ndarray, *, threads: int) -> Pixels:
    n = len(rows)
    pixels = Pixels(
      np.zeros((n, *self.shape, 3), np.uint8),
      np.zeros((n, 2), np.int32),
    )

    def read(place):
      path = self.table.image_path(rows[place])
      image = read_image(path, max_pixels=self.max_pixels, how=self.how)
      image = shrink(image, side=self.side)
      width, height = image.size
      pixels.images[place, :height, :width] = np.asarray(image)
      pixels.sizes[place] = height, width

    if threads <= 1:
      list(map(read, range(n)))
    else:
      with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, range(n)))
    return pixels


def open_pixels(
  table: CaptionTable,
  *,
  side: int,
  threads: int = 1,
  max_pixels: int = MAX_PIXELS,
  how: How = DEFAULT,
) -> PixelStore:
  """A store that reads images when asked for; now `read_headers` alone.

  Images of other than 8 bits that would be stretched each by itself are warned of.

  Raises:
    UserError: a file is no image, or too large.
  """
  headers = read_headers(table, max_pixels=max_pixels, threads=threads)
  if how.stretch in ('auto', 'percent'):
    _warn_of_stretch(np.count_nonzero(headers[:, 2] > 8), table=table)
  sizes = [
    shrunk(size, side=side) for size in np.unique(headers[:, :2], axis=0).tolist()
  ]
  width, height = np.max(sizes, axis=0)
  return PixelStore(
    table=table,
    side=side,
    shape=(int(height), int(width)),
    max_pixels=max_pixels,
    how=how,
  )


def _warn_of_stretch(count: int, *, table: CaptionTable) -> None:
  if count:
    logging.warning(
      '%s of %s images of split %r have more than 8 bits; each is stretched by itself, '
      'so that one brightness means many values. Set --config.data.stretch=MIN,MAX, as '
      'in 0,3000 for reflectance times 10,000.',
      *(f'{count:,}', f'{table.n_images:,}', table.split),
    )


def shrunk(size: tuple[int, int], *, side: int) -> tuple[int, int]:
  """Width and height with the shorter at most `side` and the longer twice that.

  The aspect stays; nothing is enlarged.
  """
  scale = min(1.0, side / min(size), LONGEST * side / max(size))
  return tuple(max(round(length * scale), 1) for length in size)


def shrink(image: Image.Image, *, side: int) -> Image.Image:
  """`image` at its `shrunk` size; bicubic."""
  size = shrunk(image.size, side=side)
  return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def choose_cache(n_bytes: int, *, device_bytes: int | None, host_bytes: int) -> str:
  """Where `n_bytes` of images go: `device`, `host` or `stream`.

  Args:
    n_bytes: of all images.
    device_bytes: free on all devices together; None where that is the host's memory.
    host_bytes: free on the host.
  """
  if device_bytes is not None and n_bytes <= SHARE_OF_DEVICE * device_bytes:
    return 'device'
  return 'host' if n_bytes <= SHARE_OF_HOST * host_bytes else 'stream'


def free_host_bytes() -> int:
  """Memory that the host could give now."""
  return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
