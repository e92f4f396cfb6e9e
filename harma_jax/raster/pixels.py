"""Parts of a picture: joined, cut and turned."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image


class Pixels(NamedTuple):
  """A part of a picture.

  Attributes:
    colors: u8[H, W, 3], or u8[H, W, 1] of grey.
    valid: bool[H, W], where there is data; None for everywhere.
  """

  colors: np.ndarray
  valid: np.ndarray | None

  def rgb(self) -> np.ndarray:
    """u8[H, W, 3], a view."""
    return np.broadcast_to(self.colors, (*self.colors.shape[:2], 3))

  def image(self) -> Image.Image:
    """As RGB."""
    return Image.fromarray(np.ascontiguousarray(self.rgb()))

  def share_valid(self) -> float:
    """Of its pixels, those that hold data."""
    return 1.0 if self.valid is None else float(self.valid.mean())


def join(
  units: Mapping[tuple[int, int], Pixels],
  *,
  box: Sequence[int],
  unit: tuple[int, int],
) -> Pixels:
  """The pixels of a box from the units that it touches.

  Args:
    units: by row and column.
    box: left, top, width, height.
    unit: width and height of a unit; the last ones may be smaller.
  """
  left, top, width, height = box
  if len(units) == 1:
    [((row, column), part)] = units.items()
    y, x = top - row * unit[1], left - column * unit[0]
    cut = slice(y, y + height), slice(x, x + width)
    return Pixels(part.colors[cut], None if part.valid is None else part.valid[cut])
  depth = next(iter(units.values())).colors.shape[-1]
  colors = np.empty((height, width, depth), np.uint8)
  whole = all(part.valid is None for part in units.values())
  valid = None if whole else np.ones((height, width), bool)
  for (row, column), part in units.items():
    y, x = row * unit[1] - top, column * unit[0] - left  # of the unit, in the box
    inside = slice(max(-y, 0), height - y), slice(max(-x, 0), width - x)
    piece = part.colors[inside]
    y, x = max(y, 0), max(x, 0)
    place = slice(y, y + piece.shape[0]), slice(x, x + piece.shape[1])
    colors[place] = piece
    if part.valid is not None:
      valid[place] = part.valid[inside]
  return Pixels(colors, valid)


def turned_box(
  box: Sequence[int], *, size: tuple[int, int], orientation: int
) -> tuple[int, int, int, int]:
  """Where a box of the upright picture is in the one that is stored.

  Args:
    box: left, top, width, height.
    size: width and height, upright.
    orientation: EXIF's, 1 to 8.
  """
  left, top, width, height = box
  right, bottom = size[0] - left - width, size[1] - top - height
  x = right if orientation in (2, 3, 7, 6) else left
  y = bottom if orientation in (3, 4, 7, 8) else top
  return (y, x, height, width) if orientation >= 5 else (x, y, width, height)


def turn(pixels: Pixels, orientation: int) -> Pixels:
  """What is stored, upright."""
  if orientation == 1:
    return pixels
  return Pixels(
    *(None if part is None else _turn(part, orientation) for part in pixels)
  )


def _turn(array: np.ndarray, orientation: int) -> np.ndarray:
  if orientation >= 5:
    array = array.swapaxes(0, 1)
  down, right = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
  return array[:: -1 if down else 1, :: -1 if right else 1]
