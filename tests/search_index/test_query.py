"""What an index answers: hits that say where they are, each place once."""

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.query import search, search_many


def test_hits_name_the_file_and_its_place(made_index, unit_rows):
  features = unit_rows(12)
  corners = np.full((12, 4, 2), np.nan)
  corners[7] = [[8, 47], [8, 46], [9, 46], [9, 47]]
  index = made_index(features, corners=corners)
  first, *rest = search(index, features[7], top=3)
  assert first.image == '007.png'
  assert first.similarity == pytest.approx(1)
  assert first.box == (0, 0, 4, 4)
  assert first.corners == ((8, 47), (8, 46), (9, 46), (9, 47))
  assert [hit.corners for hit in rest] == [None, None]


def test_top_must_be_positive(made_index, unit_rows):
  with pytest.raises(UserError, match='--top: expected at least 1; found 0'):
    search(made_index(unit_rows(3)), unit_rows(1)[0], top=0)


def test_many_queries_have_the_answers_of_each_alone(made_index, unit_rows):
  index, queries = made_index(unit_rows(30)), unit_rows(5, seed=1)
  answers = search_many(index, queries, top=4)
  for query, hits in zip(queries, answers, strict=True):
    alone = search(index, query, top=4)
    assert [hit.row for hit in hits] == [hit.row for hit in alone]


@pytest.fixture
def tiles(made_index, begin, write):
  """Nine tiles of 64 px in steps of 16, in one file; the fifth is the best."""
  features = np.eye(9, dtype=np.float32)
  boxes = np.array([[16 * i, 0, 64, 64] for i in range(9)], np.int32)
  query = np.array([8, 3, 4, 7, 9, 6, 5, 2, 1], np.float32)

  def make(**settings):
    index = made_index(features, boxes=boxes, tile=64, **settings)
    index.file[:] = 0
    return index, query / np.linalg.norm(query)

  return make


def test_overlapping_tiles_are_one_answer_by_their_best(tiles):
  index, query = tiles()
  hits = search(index, query, top=5)
  # Steps of 16 and 32 overlap, of 48 and more do not.
  assert [hit.box[0] // 16 for hit in hits] == [4, 0, 7]
  assert [hit.rank for hit in hits] == [1, 2, 8]
  kept = search(index, query, top=5, overlap='keep')
  assert [hit.box[0] // 16 for hit in kept] == [4, 0, 3, 5, 6]
  with pytest.raises(UserError, match=r"--overlap: .* best, keep; found 'x'"):
    search(index, query, top=5, overlap='x')


def test_more_is_looked_at_where_one_place_has_many_rows(made_index):
  """Of 300 rows 290 lie in one place, and are the best."""
  angles = np.linspace(0, 1, 300)
  features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
  boxes = np.tile(np.array([[0, 0, 8, 8]], np.int32), (300, 1))
  boxes[290:, 0] = 100 * np.arange(1, 11)
  index = made_index(features, boxes=boxes, tile=8)
  index.file[:] = 0
  hits = search(index, features[0], top=3)
  assert [hit.row for hit in hits] == [0, 290, 291]


def test_a_filter_counts_in_the_rank_and_must_leave_something(made_index, unit_rows):
  features = unit_rows(12)
  index, allowed = made_index(features), np.arange(12) >= 8
  hits = search(index, features[3], top=2, allowed=allowed)
  assert [(hit.rank, hit.searched) for hit in hits] == [(1, 4), (2, 4)]
  assert min(hit.row for hit in hits) >= 8
  with pytest.raises(UserError, match='found none there'):
    search(index, features[3], top=2, allowed=np.zeros(12, bool))
