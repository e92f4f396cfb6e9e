"""Approximate search beside exact search."""

import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.catalogue import write_entry
from harma_jax.search_index.graph import write_graph
from harma_jax.search_index.index import open_index
from harma_jax.search_index.query import search


def test_a_graph_finds_nearly_what_exact_search_finds(made_index, unit_rows):
  pytest.importorskip('usearch')
  features = unit_rows(300)
  index = made_index(features)
  assert write_graph(index) > 0.9
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


def test_a_graph_of_rows_that_have_changed_is_not_searched(made_index, unit_rows):
  pytest.importorskip('usearch')
  index = made_index(unit_rows(12))
  write_graph(index)
  write_entry(index.folder, {'003.png': None}, found=11)
  changed = open_index(index.folder)
  with pytest.raises(UserError, match='found one of rows that have changed since'):
    search(changed, unit_rows(1)[0], top=1, approximate=True)
  write_graph(changed)
  assert len(list(index.folder.glob('*.usearch'))) == 1
  assert search(changed, unit_rows(1)[0], top=1, approximate=True)
