"""What lies in one place: boxes in pixels of a file, or on the ground."""

import numpy as np
import pytest

from harma_jax.search_index.overlap import Places, best_of_places


@pytest.fixture
def place(made_index):
  """`place(files, boxes, corners)`: an index of rows that lie there."""

  def make(files, boxes, corners=None):
    features = np.eye(len(files), dtype=np.float32)
    boxes = np.array(boxes, np.int32)
    index = made_index(features, boxes=boxes, corners=corners, tile=8)
    index.file[:] = files
    return index

  return make


def ground(west, south, east, north):
  return np.array([[west, north], [west, south], [east, south], [east, north]], float)


def overlaps(index):
  places = Places(index, np.arange(len(index)))
  return np.stack([places.overlaps(row) for row in range(len(index))])


def test_boxes_of_one_file_are_compared_in_pixels(place):
  boxes = [[0, 0, 8, 8], [4, 0, 8, 8], [4, 4, 8, 8], [0, 0, 16, 16], [8, 0, 8, 8]]
  found = overlaps(place([0] * 5, boxes))
  np.testing.assert_allclose(found[0], [1, 1 / 3, 1 / 7, 1 / 4, 0])
  np.testing.assert_allclose(found, found.T)


def test_files_without_a_place_do_not_overlap(place):
  assert (overlaps(place([0, 1], [[0, 0, 8, 8]] * 2)) == np.eye(2)).all()


def test_files_with_a_place_are_compared_on_the_ground(place):
  corners = np.stack(
    [
      ground(8, 46, 9, 47),
      ground(8.5, 46, 9.5, 47),
      np.full((4, 2), np.nan),
      ground(179.5, 46, 180.5, 47),
      ground(-180, 46, -179, 47),
      ground(368, 46, 369, 47),
    ]
  )
  found = overlaps(place(range(6), [[0, 0, 8, 8]] * 6, corners))
  expected = np.eye(6)
  for one, other, value in ((0, 1, 1 / 3), (3, 4, 1 / 3), (0, 5, 1), (1, 5, 1 / 3)):
    expected[one, other] = expected[other, one] = value
  np.testing.assert_allclose(found[:2], expected[:2])
  np.testing.assert_allclose(found[3:], expected[3:])


def test_the_best_row_of_each_place_is_kept(place):
  index = place([0] * 4, [[0, 0, 8, 8], [4, 0, 8, 8], [8, 0, 8, 8], [40, 0, 8, 8]])
  assert best_of_places(index, np.array([1, 0, 2, 3]), top=9).tolist() == [0, 3]
  assert best_of_places(index, np.array([0, 1, 2, 3]), top=9).tolist() == [0, 2, 3]
  assert best_of_places(index, np.array([0, 1, 2, 3]), top=2).tolist() == [0, 2]
