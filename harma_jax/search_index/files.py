"""Which images a folder holds, and the boxes that an image is cut into."""

import os
import pathlib

import numpy as np

from harma_jax.errors import UserError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.bmp', '.webp', '.jp2')


def is_image(name: str) -> bool:
  """Whether a file's name ends as an image's; those of hidden files do not count."""
  return name.lower().endswith(SUFFIXES) and not name.startswith('.')


def find_images(root: str | os.PathLike) -> list[str]:
  """Paths of all image files below a folder, relative to it, with `/`, sorted.

  Told by their ending. Links to files are followed, links to folders are not (but
  `root` may be one); hidden files and folders are left out.

  Raises:
    UserError: `root` is no folder, or holds no image.
  """
  root = pathlib.Path(root).expanduser()
  if not root.is_dir():
    raise UserError(
      f'--images: expected a folder of images; {root} is none. Set --images=FOLDER.'
    )
  found = []
  for folder, folders, names in os.walk(root):
    folders[:] = [name for name in folders if not name.startswith('.')]
    images = [name for name in names if is_image(name)]
    found += [(pathlib.Path(folder) / name).relative_to(root) for name in images]
  if not found:
    raise UserError(
      f'--images: expected images ({", ".join(SUFFIXES)}) in {root}; found none. Set '
      '--images to the folder that holds them.'
    )
  return sorted(path.as_posix() for path in found)


def check_tiling(tile: int, stride: int) -> None:
  """Raises UserError unless tiles can be `tile` pixels wide and `stride` apart."""
  if tile < 0 or stride < 0 or stride > tile or (tile and not stride):
    raise UserError(
      '--tile, --stride: expected a stride of 1 to the tile, in pixels, or no tile; '
      f'found --tile={tile} --stride={stride}. As in --tile=256 --stride=128.'
    )


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
