"""Exact search beside a plain sort."""

import itertools

import numpy as np
import pytest

from harma_jax.search_index.catalogue import write_entry
from harma_jax.search_index.exact import top_rows
from harma_jax.search_index.index import Part, open_index
from harma_jax.search_index.shards import Features, store


def sorted_rows(features, query, *, top):
  """All products sorted: the reference."""
  products = [float(np.dot(row, query)) for row in features.astype(np.float64)]
  return sorted(range(len(products)), key=lambda row: -products[row])[:top]


def parts_of(features, *, storage='float32'):
  """Three parts of different sizes, none of them empty."""
  bounds = [0, 7, 8, len(features)]
  return [
    Part(store(features[start:stop], storage=storage))
    for start, stop in itertools.pairwise(bounds)
  ]


@pytest.mark.parametrize('storage', ['float32', 'int16'])
@pytest.mark.parametrize('n_queries', [1, 4])
@pytest.mark.parametrize('rows_at_once', [0, 1, 7])
@pytest.mark.parametrize('top', [1, 6, 40])
def test_the_rows_are_those_of_a_full_sort(
  unit_rows, storage, n_queries, rows_at_once, top
):
  features, queries = unit_rows(30), unit_rows(n_queries, seed=1)
  parts = parts_of(features, storage=storage)
  found = top_rows(parts, queries, top=top, rows_at_once=rows_at_once)
  for query, rows, products in zip(queries, *found, strict=True):
    assert rows.tolist() == sorted_rows(features, query, top=top)
    np.testing.assert_allclose(products, features[rows] @ query, atol=1e-4)


@pytest.mark.parametrize('n_queries', [1, 3])
def test_only_what_is_allowed_is_found(unit_rows, n_queries):
  features, queries = unit_rows(30), unit_rows(n_queries, seed=1)
  allowed = np.zeros(30, bool)
  allowed[[3, 7, 8, 20]] = True
  found = top_rows(parts_of(features), queries, top=6, allowed=allowed)
  for query, rows, products in zip(queries, *found, strict=True):
    best = [row for row in sorted_rows(features, query, top=30) if allowed[row]]
    assert rows[:4].tolist() == best
    assert np.isneginf(products[4:]).all()


@pytest.mark.parametrize('n_queries', [1, 2])
@pytest.mark.parametrize('filtered', [False, True])
def test_rows_that_are_gone_are_passed_over(made_index, unit_rows, n_queries, filtered):
  features, queries = unit_rows(12), unit_rows(n_queries, seed=1)
  folder = made_index(features).folder
  write_entry(folder, dict.fromkeys(['001.png', '002.png', '007.png']), found=9)
  index = open_index(folder)
  allowed = np.arange(9) % 2 == 0 if filtered else None
  found = top_rows(index.parts, queries, top=3, allowed=allowed, rows_at_once=2)
  for query, rows in zip(queries, found.rows, strict=True):
    best = sorted_rows(index.features, query, top=9)
    assert rows.tolist() == [r for r in best if not filtered or r % 2 == 0][:3]


@pytest.mark.parametrize('rows_at_once', [1, 2, 100])
@pytest.mark.parametrize('n_queries', [1, 2])
def test_of_equal_products_the_first_comes_first(rows_at_once, n_queries):
  features = np.eye(3, dtype=np.float32)[[1, 0, 2, 0, 1, 0]]
  queries = np.array([[1, 0.5, 0]] * n_queries, np.float32)
  parts = [Part(Features(features))]
  for top in range(1, 7):
    found = top_rows(parts, queries, top=top, rows_at_once=rows_at_once)
    assert found.rows.tolist() == [[1, 3, 5, 0, 4, 2][:top]] * n_queries
