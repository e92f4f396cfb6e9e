"""The cells of Major TOM's grid, of about ten kilometres: `433U_12R`.

Rows are counted up and down from the equator, columns right and left from Greenwich; a
cell is named by its lower left corner. See arXiv 2402.12095.
"""

from typing import NamedTuple

import numpy as np

CELL = 10.0  # kilometres
RADIUS = 6378.137  # of the earth at the equator, in kilometres
LIMIT = 85.0  # degrees of latitude, where the grid ends

N_ROWS = int(np.ceil(np.pi * RADIUS / CELL))  # even: a row begins at the equator


class Cells(NamedTuple):
  """Cells that points lie in.

  Attributes:
    names: None outside the grid.
    rows: i16[n], up from the equator.
    columns: i16[n], right from Greenwich.
  """

  names: list[str | None]
  rows: np.ndarray
  columns: np.ndarray


def cells_of(points: np.ndarray) -> Cells:
  """The cells of points, f64[n, 2]: longitude, latitude; NaN where not known."""
  longitude, latitude = points.T
  known = np.abs(latitude) <= LIMIT
  longitude, latitude = np.where(known, points.T, 0)
  height = 180 / N_ROWS
  rows = np.floor(latitude / height).astype(np.int16)
  around = 2 * np.pi * RADIUS * np.cos(np.radians(rows * height))
  count = np.ceil(around / CELL).astype(np.int64)
  columns = np.floor(longitude * count / 360).astype(np.int64)
  # Of an odd number the last on the right crosses longitude 180.
  columns = np.where(columns < -(count // 2), columns + count, columns).astype(np.int16)
  names = [
    f'{_side(row, "UD")}_{_side(column, "RL")}' if is_known else None
    for row, column, is_known in zip(
      rows.tolist(), columns.tolist(), known.tolist(), strict=True
    )
  ]
  return Cells(names, rows, columns)


def _side(number: int, letters: str) -> str:
  return f'{abs(number)}{letters[number < 0]}'
