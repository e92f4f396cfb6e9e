"""Image files to the pixels that a model sees, read ahead in threads.

Memory is bounded by what the threads hold: a TIFF is read window by window where
rasterio is installed, any other image that is cut into tiles is decoded as a whole.
"""

import contextlib
import functools
import pathlib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import NamedTuple

import grain
import numpy as np
from PIL import Image

from harma_jax.data.images import read_image, read_size, resize_for_evaluation
from harma_jax.errors import UserError
from harma_jax.search_index import geo
from harma_jax.search_index.files import tile_boxes

BOXES_AT_ONCE = 32


class Rows(NamedTuple):
  """Some boxes of one image.

  Attributes:
    boxes: i32[n, 4]: left, top, width, height in pixels.
    images: u8[n, side, side, 3].
    corners: f64[n, 4, 2], see `geo.read_corners`, or None.
    facts: how the file was read.
    dropped: reason -> number of boxes of this part that were left out.
  """

  boxes: np.ndarray
  images: np.ndarray
  corners: np.ndarray | None
  facts: Mapping = types.MappingProxyType({})
  dropped: Mapping[str, int] = types.MappingProxyType({})


def read_rows(
  paths: Sequence[pathlib.Path],
  *,
  side: int,
  cut: Callable[[int, int], np.ndarray],
  threads: int,
) -> Iterator[tuple[int, Rows | UserError]]:
  """The boxes of files in their order, at most `BOXES_AT_ONCE` at a time.

  Args:
    paths: of the files.
    side: pixels of what the model sees.
    cut: `cut(width, height)`, the boxes i32[n, 4] of an image.
    threads: how many read at once.

  Yields:
    The number of the file, counted from 0, with some of its boxes, or with what is
    wrong with it.
  """
  tiled = cut is not tile_boxes
  with futures.ThreadPoolExecutor(threads) as pool:
    sizes = list(pool.map(_caught(functools.partial(_size, tiled=tiled)), paths))
  parts = []
  for file, size in enumerate(sizes):
    boxes = [None] if isinstance(size, UserError) else _split(cut(*size))
    parts += [(file, part) for part in boxes]
  # The parts of one image follow each other: it is decoded once, not once for each.
  decode = functools.lru_cache(maxsize=threads)(read_image)

  def make(number):
    file, boxes = parts[number]
    if boxes is None:
      return file, sizes[file]
    read = functools.partial(_read, side=side, tiled=tiled, decode=decode)
    return file, _caught(read)(paths[file], boxes)

  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
  dataset = grain.MapDataset.range(len(parts)).map(make).to_iter_dataset(options)
  with contextlib.closing(iter(dataset)) as found:
    yield from found


def read_crop(path: pathlib.Path, box: Sequence[int], *, tiled: bool) -> Image.Image:
  """One box of an image file, as RGB.

  Raises:
    UserError: it cannot be read.
  """
  [crop] = _crops(path, np.array([box], np.int32), tiled=tiled, decode=read_image)
  return Image.new('RGB', tuple(box[2:])) if crop is None else crop


def _read(
  path: pathlib.Path, boxes: np.ndarray, *, side: int, tiled: bool, decode: Callable
) -> Rows:
  crops = _crops(path, boxes, tiled=tiled, decode=decode)
  kept = np.array([crop is not None for crop in crops])
  images = [resize_for_evaluation(crop, side=side) for crop in crops if crop]
  placed = kept.any() and geo.can_read(path)
  corners = geo.read_corners(path, boxes[kept]) if placed else None
  pixels = np.stack(images) if images else np.zeros((0, side, side, 3), np.uint8)
  dropped = {'no data': int((~kept).sum())} if not kept.all() else {}
  return Rows(boxes[kept], pixels, corners, dropped=dropped)


def _crops(
  path: pathlib.Path, boxes: np.ndarray, *, tiled: bool, decode: Callable
) -> list[Image.Image | None]:
  if tiled and geo.can_read(path):
    return geo.read_windows(path, boxes)
  image = decode(path)
  return [
    image.crop((left, top, left + width, top + height))
    for left, top, width, height in boxes.tolist()
  ]


def _size(path: pathlib.Path, *, tiled: bool) -> tuple[int, int]:
  in_windows = tiled and geo.can_read(path)
  return geo.read_size(path) if in_windows else read_size(path)


def _split(boxes: np.ndarray) -> list[np.ndarray]:
  return [
    boxes[start : start + BOXES_AT_ONCE]
    for start in range(0, len(boxes), BOXES_AT_ONCE)
  ]


def _caught(read: Callable) -> Callable:
  """`read`, which returns a user's mistake instead of raising it."""

  def call(*arguments):
    try:
      return read(*arguments)
    except UserError as error:
      return error

  return call
