"""Image files to the pixels that a model sees, read ahead in threads.

Memory is bounded by what is open: of what GDAL reads the parts that are in use, any
other image as a whole.
"""

import contextlib
import dataclasses
import os
import pathlib
import threading
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent import futures
from typing import NamedTuple

import numpy as np
from absl import logging
from PIL import Image

from harma_jax.data.images import resize_for_evaluation
from harma_jax.errors import UserError
from harma_jax.raster.dataset import careful, open_dataset
from harma_jax.raster.formats import TIFF, has_gdal
from harma_jax.raster.gdal import KEPT_BYTES, GdalScene
from harma_jax.raster.how import DEFAULT, How
from harma_jax.raster.limits import MAX_PIXELS, check_size, readable
from harma_jax.raster.pixels import Pixels, turned_box
from harma_jax.raster.scene import Scene, open_scene
from harma_jax.search_index.places import read_corners, read_corners_beside

BOXES_AT_ONCE, BYTES_AT_ONCE = 32, 2**23
NO_DATA = 'less data than --min_valid'  # why boxes are left out

# `cut(width, height)`: i32[n, 4], the boxes of an image.
Cut = Callable[[int, int], np.ndarray]


class Rows(NamedTuple):
  """Some boxes of one image.

  Attributes:
    boxes: i32[n, 4]: left, top, width, height in pixels.
    images: u8[n, side, side, 3]; u8[n, length, length, 3] of boxes that stay as cut.
    corners: f64[n, 4, 2], see `places.read_corners`, or None.
    facts: how the file was read, as JSON has it; the same in each part of it.
    dropped: why boxes of this part were left out -> how many.
  """

  boxes: np.ndarray
  images: np.ndarray
  corners: np.ndarray | None
  facts: Mapping = types.MappingProxyType({})
  dropped: Mapping[str, int] = types.MappingProxyType({})


def stored_how(preprocessing: Mapping) -> How:
  """How files were read, by what an index says of its preprocessing."""
  stored = {name: preprocessing[name] for name in How._fields if name in preprocessing}
  return DEFAULT._replace(**stored)


def read_rows(
  paths: Sequence[pathlib.Path],
  *,
  side: int,
  cut: Cut,
  threads: int,
  how: How = DEFAULT,
  as_cut: Collection[int] = (),
  interpolation: str = 'bicubic',
) -> Iterator[tuple[int, Rows | UserError]]:
  """The boxes of files, file by file, some of one size at a time.

  Boxes come in the order of `cut`, but for scenes that are too wide to keep a row of
  their blocks: of these, one column of blocks after the other.

  Args:
    paths: of the files.
    side: pixels of what the model sees.
    cut: the boxes of an image of some width and height.
    threads: how many read at once.
    how: what the user says of bands and values.
    as_cut: pixels of the sides of square boxes that are handed on without a resize.
    interpolation: of the resize of the others.

  Yields:
    The number of the file, counted from 0, with some of its boxes, or with what is
    wrong with it.
  """
  with futures.ThreadPoolExecutor(threads) as pool:
    measured = list(pool.map(_caught(_measure), paths))
  parts = []
  for file, found in enumerate(measured):
    if isinstance(found, UserError):
      parts.append((file, None))
    else:
      parts += [(file, boxes) for boxes in _split(cut(*found.size), found)]
  seeing = {
    'side': side,
    'as_cut': {side, *as_cut},
    'interpolation': interpolation,
  }
  scenes = _Scenes(paths, parts=[file for file, _ in parts], how=how)

  def make(number):
    file, boxes = parts[number]
    if boxes is None:
      return file, measured[file]
    with scenes.use(file) as scene:
      read = _caught(_read)
      return file, read(scene, boxes, name=str(paths[file]), how=how, **seeing)

  import grain  # takes long, and a query needs none

  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
  dataset = grain.MapDataset.range(len(parts)).map(make).to_iter_dataset(options)
  with contextlib.closing(scenes), contextlib.closing(iter(dataset)) as found:
    yield from found


def read_crop(
  path: pathlib.Path, box: Sequence[int], *, how: How = DEFAULT
) -> Image.Image:
  """One box of an image file, as RGB.

  Raises:
    UserError: it cannot be read.
  """
  with readable(str(path)), open_scene(path, name=str(path), how=how) as scene:
    check_size(*box[2:], max_pixels=MAX_PIXELS)
    _check_inside(box, scene.size)
    return scene.read(box).image()


def _check_inside(box: Sequence[int], size: tuple[int, int]) -> None:
  left, top, width, height = box
  if left + width > size[0] or top + height > size[1]:
    raise UserError(
      f'expected a box within {size[0]} x {size[1]} pixels; found '
      f'{width} x {height} at {left}, {top}. Left comes first: --box=L,T,W,H.'
    )


class _Measured(NamedTuple):
  """Width and height, of an image and of what is decoded at once."""

  size: tuple[int, int]
  unit: tuple[int, int]


@dataclasses.dataclass
class _Opened:
  """A scene that is used by some parts, and how many of them are left."""

  left: int
  lock: threading.Lock
  stack: contextlib.ExitStack
  scene: Scene | None = None


class _Scenes:
  """The scenes that are read at a time: each is opened once, for all of its parts."""

  def __init__(self, paths: Sequence[pathlib.Path], *, parts: Sequence[int], how: How):
    self._paths, self._how = paths, how
    files, counts = np.unique(parts, return_counts=True)
    self._opened = {
      file: _Opened(count, threading.Lock(), contextlib.ExitStack())
      for file, count in zip(files.tolist(), counts.tolist(), strict=True)
    }

  @contextlib.contextmanager
  def use(self, file: int) -> Iterator[Callable[[], Scene]]:
    """What gives the scene of a file, for one of its parts."""
    opened = self._opened[file]
    try:
      yield lambda: self._scene(opened, self._paths[file])
    finally:
      with opened.lock:
        opened.left -= 1
        if not opened.left:
          opened.stack.close()

  def close(self) -> None:
    """Closes what is open, where the parts have not all been read."""
    for opened in self._opened.values():
      opened.stack.close()

  def _scene(self, opened: _Opened, path: pathlib.Path) -> Scene:
    with opened.lock:
      if opened.scene is None:
        scene = open_scene(path, name=str(path), how=self._how)
        opened.scene = opened.stack.enter_context(scene)
        _log(opened.scene.facts, path=path)
      return opened.scene


def _read(
  scene_of: Callable[[], Scene],
  boxes: np.ndarray,
  *,
  name: str,
  how: How,
  side: int,
  **seeing,
) -> Rows:
  with readable(name):
    scene = scene_of()
    images, kept = [], np.zeros(len(boxes), bool)
    for number, box in enumerate(boxes.tolist()):
      check_size(*box[2:], max_pixels=MAX_PIXELS)
      pixels = scene.read(box)
      kept[number] = pixels.share_valid() >= how.min_valid
      if kept[number]:
        images.append(_handed_on(pixels, side=side, **seeing))
    corners, reason = _corners(scene, boxes[kept], path=pathlib.Path(name))
    return Rows(
      boxes=boxes[kept],
      images=np.stack(images) if images else np.zeros((0, side, side, 3), np.uint8),
      corners=corners,
      facts={**scene.facts, **({'no_place': reason} if reason else {})},
      dropped={} if kept.all() else {NO_DATA: int((~kept).sum())},
    )


def _handed_on(
  pixels: Pixels, *, side: int, as_cut: Collection[int], interpolation: str
) -> np.ndarray:
  colors = pixels.rgb()
  height, width, _ = colors.shape
  if height == width and width in as_cut:
    return colors
  return resize_for_evaluation(pixels.image(), side=side, interpolation=interpolation)


def _corners(
  scene: Scene, boxes: np.ndarray, *, path: pathlib.Path
) -> tuple[np.ndarray | None, str]:
  if not len(boxes):
    return None, _corners(scene, np.array([[0, 0, 1, 1]]), path=path)[1]
  if scene.orientation != 1:  # places are those of what is stored
    turn = {'size': scene.size, 'orientation': scene.orientation}
    boxes = np.array([turned_box(box, **turn) for box in boxes.tolist()])
  if isinstance(scene, GdalScene):
    with scene.dataset() as dataset:
      return read_corners(dataset, boxes)
  if has_gdal() and scene.facts['format'] == TIFF:  # whose colours Pillow converts
    with careful(), open_dataset(path, kind=TIFF) as dataset:
      return read_corners(dataset, boxes)
  return read_corners_beside(path, boxes, size=scene.size)


def _measure(path: pathlib.Path) -> _Measured:
  name = os.fspath(path)
  with readable(name), open_scene(path, name=name) as scene:
    return _Measured(scene.size, scene.unit)


def _split(boxes: np.ndarray, measured: _Measured) -> list[np.ndarray]:
  """Boxes in parts of one size; of wide scenes in stripes whose blocks can be kept."""
  width, height = measured.unit
  stripe = max(KEPT_BYTES // (2 * 3 * height) // width, 1) * width
  if stripe < measured.size[0]:
    boxes = boxes[np.argsort(boxes[:, 0] // stripe, kind='stable')]
  changes = np.diff(boxes[:, 2:], axis=0).any(axis=1)
  parts = []
  for same in np.split(boxes, np.flatnonzero(changes) + 1):
    pixels = int(same[0, 2:].prod(dtype=np.int64))
    most = min(BOXES_AT_ONCE, max(BYTES_AT_ONCE // (3 * pixels), 1))
    parts += [same[start : start + most] for start in range(0, len(same), most)]
  return parts


def _log(facts: Mapping, *, path: pathlib.Path) -> None:
  if 'stretch' in facts:
    black, white = facts['stretch']
    bands = ', '.join(map(str, facts.get('bands', [1])))
    words = facts['stretch_by']
    logging.info(
      '%s: bands %s; %g becomes black and %g white (%s)',
      *(path, bands, black, white, words),
    )


def _caught(read: Callable) -> Callable:
  """`read`, which returns a user's mistake instead of raising it."""

  def call(*arguments, **keywords):
    try:
      return read(*arguments, **keywords)
    except UserError as error:
      return error

  return call
