"""Hits as plain values, and the middles of boxes."""

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.query import Hit
from harma_jax.search_index.records import (
  COLUMNS,
  centre_of,
  placed,
  readable,
  record_of,
)

CORNERS = ((8.0, 47.0), (8.0, 46.0), (9.0, 46.0), (9.0, 47.0))


def hit(corners=None, image='a.tif'):
  return Hit(image=image, similarity=0.5, box=(1, 2, 3, 4), corners=corners)


def test_a_record_has_the_columns_in_their_order():
  record = record_of(hit(image='\udcff.tif'), rank=7)
  assert tuple(record) == COLUMNS
  assert list(record.values()) == [7, '�.tif', 0.5, 1, 2, 3, 4]
  assert readable('ä.tif') == 'ä.tif'


def test_hits_keep_their_rank_where_others_have_no_place():
  assert placed([hit(), hit(CORNERS)], flag='--geojson') == [(2, hit(CORNERS))]
  with pytest.raises(UserError, match=r'--csv: .*harma_jax\[geo\]'):
    placed([hit()], flag='--csv')


@pytest.mark.parametrize(
  ('corners', 'middle'),
  [
    ([(8, 1), (8, -1), (10, -1), (10, 1)], (9, 0)),
    ([(179, 1), (179, -1), (182, -1), (182, 1)], (-179.5, 0)),
    ([(0, 80), (90, 80), (180, 80), (270, 80)], (None, 90)),
  ],
)
def test_the_middle_knows_no_edge_of_the_map(corners, middle):
  [(longitude, latitude)] = centre_of(np.array([corners], float))
  assert latitude == pytest.approx(middle[1], abs=1e-9)
  if middle[0] is not None:
    assert longitude == pytest.approx(middle[0])


def test_of_an_unknown_place_the_middle_is_unknown():
  assert np.isnan(centre_of(np.full((2, 4, 2), np.nan))).all()
