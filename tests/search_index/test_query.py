"""Exact search beside a plain sort; approximate search beside exact search."""

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.query import search, top_rows, write_graph


def sorted_rows(features, query, *, top):
  """All products sorted: the reference."""
  products = [float(np.dot(row, query)) for row in features.astype(np.float64)]
  return sorted(range(len(products)), key=lambda row: -products[row])[:top]


@pytest.mark.parametrize('rows_at_once', [1, 7, 100])
@pytest.mark.parametrize('top', [1, 6, 40])
def test_the_rows_are_those_of_a_full_sort(unit_rows, rows_at_once, top):
  features, queries = unit_rows(30), unit_rows(4, seed=1)
  for query in queries:
    rows, products = top_rows(features, query, top=top, rows_at_once=rows_at_once)
    assert rows.tolist() == sorted_rows(features, query, top=top)
    np.testing.assert_allclose(products, features[rows] @ query, atol=1e-6)


@pytest.mark.parametrize('rows_at_once', [1, 2, 100])
def test_of_equal_products_the_first_comes_first(rows_at_once):
  features = np.eye(3, dtype=np.float32)[[1, 0, 2, 0, 1, 0]]
  query = np.array([1, 0.5, 0], np.float32)
  for top in range(1, 7):
    rows, _ = top_rows(features, query, top=top, rows_at_once=rows_at_once)
    assert rows.tolist() == [1, 3, 5, 0, 4, 2][:top]


def test_hits_name_the_file_and_its_place(made_index, unit_rows):
  features = unit_rows(12)
  corners = np.full((12, 4, 2), np.nan)
  corners[7] = [[8, 47], [8, 46], [9, 46], [9, 47]]
  index = made_index(features, corners=corners)
  first, *rest = search(index, features[7], top=3)
  assert first.image == '7.png'
  assert first.similarity == pytest.approx(1)
  assert first.box == (0, 0, 4, 4)
  assert first.corners == ((8, 47), (8, 46), (9, 46), (9, 47))
  assert [hit.corners for hit in rest] == [None, None]


def test_top_must_be_positive(made_index, unit_rows):
  with pytest.raises(UserError, match='--top: expected at least 1; found 0'):
    search(made_index(unit_rows(3)), unit_rows(1)[0], top=0)


def test_a_graph_finds_nearly_what_exact_search_finds(made_index, unit_rows):
  pytest.importorskip('usearch')
  features = unit_rows(300)
  index = made_index(features)
  write_graph(index)
  found = shared = 0
  for query in unit_rows(10, seed=1):
    exact = search(index, query, top=10)
    near = search(index, query, top=10, approximate=True)
    assert [hit.similarity for hit in near] == sorted(
      (hit.similarity for hit in near), reverse=True
    )
    found += len(near)
    shared += len({hit.image for hit in near} & {hit.image for hit in exact})
  assert found == 100
  assert shared >= 95


def test_approximate_search_asks_for_its_graph(made_index, unit_rows):
  pytest.importorskip('usearch')
  with pytest.raises(UserError, match=r'--approximate: expected .* found none'):
    search(made_index(unit_rows(3)), unit_rows(1)[0], top=1, approximate=True)
