"""Which images a folder holds, and the boxes that an image is cut into."""

import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from harma_jax.errors import UserError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.bmp', '.webp', '.jp2')


def is_image(name: str) -> bool:
  """Whether a file's name ends as an image's; those of hidden files do not count."""
  return name.lower().endswith(SUFFIXES) and not name.startswith('.')


def find_images(root: str | os.PathLike) -> list[str]:
  """Paths of all image files below a folder, relative to it, with `/`, sorted.

  Told by their ending. Links to files are followed, links to folders are not (but
  `root` may be one); hidden files and folders are left out, and with a warning links
  that lead to no file.

  Raises:
    UserError: `root` is no folder, or holds no image.
  """
  root = pathlib.Path(root).expanduser()
  if not root.is_dir():
    raise UserError(
      f'--images: expected a folder of images; {root} is none. Set --images=FOLDER.'
    )
  found, lost = [], []
  for folder, folders, names in os.walk(root):
    folders[:] = [name for name in folders if not name.startswith('.')]
    for path in (pathlib.Path(folder) / name for name in names if is_image(name)):
      is_lost = path.is_symlink() and not os.path.exists(path)
      (lost if is_lost else found).append(path.relative_to(root))
  if lost:
    logging.warning('%d links lead to no file, as %s', len(lost), root / min(lost))
  if not found:
    raise UserError(
      f'--images: expected images ({", ".join(SUFFIXES)}) in {root}; found none. Set '
      '--images to the folder that holds them.'
    )
  return sorted(path.as_posix() for path in found)


def make_tiles(
  tile: int | Sequence[int], stride: int | Sequence[int] = 0
) -> list[tuple[int, int]]:
  """Tile and stride of each scale in pixels.

  Args:
    tile: side of a tile, or of several; 0 for whole images.
    stride: of each; 0 for half a tile, which is also meant for all by a single 0.

  Raises:
    UserError: as `check_tiles`, or another number of strides.
  """
  tiles, strides = ([x] if isinstance(x, int) else [*x] for x in (tile, stride))
  strides = [0] * len(tiles) if strides in ([], [0]) else strides
  if len(tiles) != len(strides):
    raise UserError(
      f'--stride: expected one for each of {len(tiles)} tiles; found {len(strides)}. '
      'As in --tile=256,512 --stride=128,256, or leave it out: half a tile each.'
    )
  pairs = [(t, s or -(-t // 2)) for t, s in zip(tiles, strides, strict=True)]
  check_tiles(pairs)
  return pairs


def check_tiles(tiles: Sequence[tuple[int, int]]) -> None:
  """Raises UserError unless each tile can be so wide, and so far from the next.

  Args:
    tiles: tile and stride of each scale in pixels; both 0 for whole images.
  """
  wrong = [
    (tile, stride)
    for tile, stride in tiles
    if min(tile, stride) < 0 or stride > tile or (tile and not stride)
  ]
  if wrong or not tiles or len({*tiles}) < len(tiles):
    sides, strides = ([str(of[i]) for of in wrong or tiles] for i in (0, 1))
    raise UserError(
      '--tile, --stride: expected a stride of 1 to the tile, in pixels, for each tile, '
      'or no tile, and no tile twice; found '
      f'--tile={",".join(sides)} --stride={",".join(strides)}. As in --tile=256 '
      '--stride=128, or --tile=256,512 --stride=128,256.'
    )


def cut_by(tiles: Sequence[tuple[int, int]]) -> Callable[[int, int], np.ndarray]:
  """`cut(width, height)`: the boxes i32[n, 4] of all scales, each once.

  A scene that is smaller than several tiles is one box for all of them.
  """
  if list(tiles) == [(0, 0)]:
    return tile_boxes

  def cut(width: int, height: int) -> np.ndarray:
    scales = [
      tile_boxes(width, height, tile=tile, stride=stride) for tile, stride in tiles
    ]
    boxes = np.concatenate(scales)
    _, first = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(first)]

  return cut


def tile_boxes(
  width: int, height: int, *, tile: int = 0, stride: int = 0
) -> np.ndarray:
  """The boxes that an image is cut into, row by row; they cover all of it.

  The last tile of a row or column is moved back to end at the border. An image that is
  smaller than a tile in one direction has tiles of its own length there: no pixel is
  invented, and the model's resize makes them square, as it does with whole images.

  Args:
    width: of the image, in pixels.
    height: of the image.
    tile: side of a tile; 0 for one box, the whole image.
    stride: from one tile to the next, at most `tile`.

  Returns:
    i32[n, 4]: left, top, width, height in pixels.
  """
  if not tile:
    return np.array([[0, 0, width, height]], np.int32)
  lefts, tops = (_starts(side, tile=tile, stride=stride) for side in (width, height))
  size = min(tile, width), min(tile, height)
  boxes = [(left, top, *size) for top in tops for left in lefts]
  return np.array(boxes, np.int32)


def _starts(length: int, *, tile: int, stride: int) -> list[int]:
  last = max(length - tile, 0)
  return [*range(0, last, stride), last]
