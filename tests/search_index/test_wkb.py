"""Outlines of many boxes as WKB, beside the same one by one, and back."""

import json

import numpy as np
import pytest

from harma_jax.search_index.outlines import geometry_of
from harma_jax.search_index.wkb import corners_of, shapes_of

shapely = pytest.importorskip('shapely')

UNIT = np.array([[0, 1], [0, 0], [1, 0], [1, 1]], float)
TURNED = np.array([[0, 1.2], [0.3, 0], [1.3, 0.2], [1, 1.4]])


@pytest.fixture
def corners():
  """Plain boxes, turned, mirrored, across 180, wide, around a pole, unknown."""
  rng = np.random.default_rng(0)
  places = rng.uniform([-179, -80], [178, 80], (6, 1, 2))
  boxes = places + np.where(np.arange(6)[:, None, None] % 2, UNIT, TURNED)
  across = np.array([[179.5, 10]]) + UNIT
  wide = np.array([[-20, 40]]) + TURNED * [40, 10]
  pole = np.array([[135.0, 80], [225, 80], [315, 80], [405, 80]])
  unknown = np.full((4, 2), np.nan)
  return np.stack([*boxes, boxes[0][::-1], across, wide, pole, unknown])


def test_outlines_are_those_of_single_boxes(corners):
  shapes = shapes_of(corners)
  for row, wkb in enumerate(shapes.wkb[:-1]):
    expected = json.dumps(geometry_of(corners[row].tolist()))
    assert shapely.from_wkb(wkb).equals_exact(shapely.from_geojson(expected), 1e-12)
    np.testing.assert_allclose(shapes.bounds[row], shapely.from_wkb(wkb).bounds)
  assert shapes.wkb[-1] is None
  assert np.isnan(shapes.bounds[-1]).all()
  assert np.flatnonzero(shapes.is_multi).tolist() == [7]


def test_no_boxes_have_no_outlines():
  assert list(shapes_of(np.zeros((0, 4, 2))).wkb) == []
  assert corners_of([]).shape == (0, 4, 2)


def test_outlines_become_the_corners_again(corners):
  some = corners[[0, 1, 2, 3, 7, 10]]
  found = corners_of(shapes_of(some).wkb)
  some[4, :, 0] -= 360  # the middle is between -180 and 180
  np.testing.assert_allclose(found, some, atol=1e-9)


def test_other_shapes_become_the_box_around_them():
  shapes = [
    shapely.Point(8, 47),
    shapely.Point(8, 47).buffer(1),
    shapely.box(8, 46, 9, 47),  # from the lower right, as Major TOM has it
    shapely.Polygon([(179.5, 0), (-179.5, 0), (-179.5, 1), (179.5, 1)]),
  ]
  found = corners_of([*shapely.to_wkb(shapes), None, b'', b'no shape'])
  assert np.isnan(found[[0, 4, 5, 6]]).all()
  around = [[7, 48], [7, 46], [9, 46], [9, 48]]
  np.testing.assert_allclose(found[1], around, atol=1e-9)
  np.testing.assert_allclose(found[2], UNIT + np.array([8, 46]))
  np.testing.assert_allclose(found[3], UNIT - np.array([180.5, 0]))
