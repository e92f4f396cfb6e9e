"""Cells of Major TOM's grid beside its definition, one point at a time."""

import math

import numpy as np

from harma_jax.search_index.grid_cells import cells_of


def cell_of(longitude, latitude):
  """The rightmost lower left corner, of all corners, that is left below a point."""
  n_rows = math.ceil(math.pi * 6378.137 / 10)
  latitudes = np.arange(-(n_rows // 2), n_rows // 2) * (180 / n_rows)
  row = np.searchsorted(latitudes, latitude, side='right') - 1
  around = 2 * math.pi * 6378.137 * math.cos(math.radians(latitudes[row]))
  width = 360 / math.ceil(around / 10)
  numbers = np.arange(-math.floor(180 / width), math.ceil(180 / width))
  # Left of the first column is the last, which crosses longitude 180.
  column = numbers[np.searchsorted(numbers * width, longitude, side='right') - 1]
  row -= n_rows // 2
  up, right = 'UD'[int(row < 0)], 'RL'[int(column < 0)]
  return f'{abs(row)}{up}_{abs(column)}{right}', row, column


def test_points_are_in_the_cells_of_the_definition():
  points = np.random.default_rng(0).uniform([-180, -84.9], [180, 84.9], (500, 2))
  points[:50, 0] = -179.9999
  cells = cells_of(points)
  expected = [cell_of(*point) for point in points]
  assert cells.names == [name for name, _, _ in expected]
  assert cells.rows.tolist() == [row for _, row, _ in expected]
  assert cells.columns.tolist() == [column for _, _, column in expected]


def test_by_hand():
  # A row is 180 / 2,004 = 0.0898 degrees high; at the equator 4,008 columns go around.
  points = np.array([[0.01, 0.01], [-0.01, -0.01], [0.1, 0.1], [0, 86], [np.nan] * 2])
  assert cells_of(points).names == ['0U_0R', '1D_1L', '1U_1R', None, None]
