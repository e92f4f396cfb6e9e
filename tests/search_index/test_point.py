"""The rows at a point of the earth."""

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.point import read_point, rows_at

NAN = np.full((4, 2), np.nan)


def box(west, south, east, north):
  return np.array([[west, north], [west, south], [east, south], [east, north]])


def test_boxes_that_hold_the_point_are_found():
  turned = np.array([[0, 1], [-1, 0], [0, -1], [1, 0]], np.float64)
  corners = np.stack([box(0, 0, 2, 2), NAN, box(1, 1, 3, 3)[::-1], turned])
  assert rows_at(corners, (1.5, 1.5)).tolist() == [0, 2]
  assert rows_at(corners, (0.4, 0.4)).tolist() == [0, 3]
  assert rows_at(corners, (-0.7, 0.2)).tolist() == [3]
  with pytest.raises(UserError, match=r'of the 3 rows with a place .* \(1 have none\)'):
    rows_at(corners, (0.6, -0.6))


@pytest.mark.parametrize('longitude', [179.95, -179.95, 180, -180, 180.05])
def test_longitude_180_is_no_border(longitude):
  corners = np.stack([box(179.9, -17, 180.1, -16), box(-180.1, -17, -179.9, -16)])
  assert rows_at(corners, (longitude, -16.5)).tolist() == [0, 1]


def test_a_point_is_two_numbers_of_degrees():
  assert read_point('-8.5,47') == (-8.5, 47)
  for text in ('47', '8,95', 'a,b', '1,2,3', 'nan,3'):
    with pytest.raises(UserError, match='--at: expected LON,LAT'):
      read_point(text)
