"""Overlapping boxes of one place as one answer."""

import numpy as np

from harma_jax.search_index.index import Index

OVERLAPS = ('best', 'keep')
# Neighbours at half a tile share a third of what they cover, a tile and one of twice
# its side that holds it a quarter; diagonal neighbours at half a tile a seventh.
SAME_PLACE = 0.2


class Places:
  """Where rows of an index lie: pixels in files, and degrees where they are known."""

  def __init__(self, index: Index, rows: np.ndarray):
    """Takes the numbers i64[k] of the rows."""
    boxes = index.boxes[rows].astype(np.float64)
    self._file = index.file[rows]
    self._pixels = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    corners = index.corners[rows]
    self._ground = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)

  def overlaps(self, row: int) -> np.ndarray:
    """f64[k], intersection over union of one of the rows with all.

    Of boxes in pixels within one file, else of boxes in degrees where both have a place
    (NaN compares as no overlap), longitudes brought within half a turn.
    """
    one, many = self._ground[row], self._ground.copy()
    turn = 360 * np.round((many[:, 0] - one[0]) / 360)
    many[:, [0, 2]] -= np.nan_to_num(turn)[:, None]
    ground = np.nan_to_num(_intersection_over_union(one, many))
    pixels = _intersection_over_union(self._pixels[row], self._pixels)
    return np.where(self._file == self._file[row], pixels, ground)


def best_of_places(index: Index, rows: np.ndarray, *, top: int) -> np.ndarray:
  """Which of some rows are kept, greedily: each unless it lies where a better one does.

  Args:
    index: of the rows.
    rows: i64[k], best first.
    top: at most how many are kept.

  Returns:
    i64[<= top], places in `rows`, rising.
  """
  places, kept = Places(index, rows), []
  is_free = np.ones(len(rows), bool)
  while is_free.any() and len(kept) < top:
    kept.append(int(is_free.argmax()))
    is_free &= places.overlaps(kept[-1]) < SAME_PLACE
    is_free[kept[-1]] = False  # of no area, it would not overlap itself
  return np.array(kept, np.int64)


def _intersection_over_union(one: np.ndarray, many: np.ndarray) -> np.ndarray:
  """Of a box [4] with boxes [n, 4]: least x and y, largest x and y."""
  low, high = np.maximum(one[:2], many[:, :2]), np.minimum(one[2:], many[:, 2:])
  shared = np.clip(high - low, 0, None).prod(axis=1)
  areas = (many[:, 2:] - many[:, :2]).prod(axis=1)
  union = (one[2:] - one[:2]).prod() + areas - shared
  return shared / np.maximum(union, np.finfo(np.float64).tiny)
