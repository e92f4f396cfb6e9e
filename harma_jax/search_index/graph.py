"""Approximate search by a graph of all rows: for many millions."""

import os
import pathlib

import numpy as np
from absl import logging

from harma_jax.errors import UserError
from harma_jax.search_index.exact import Best, top_rows
from harma_jax.search_index.index import Index
from harma_jax.search_index.storage import replacing

QUERIES, NEIGHBOURS = 200, 10  # by which recall is measured
ROWS_AT_ONCE = 2**16


def graph_path(index: Index) -> pathlib.Path:
  """Where the graph of the rows lies; another one where rows are others."""
  return index.folder / f'graph-{index.layout}.usearch'


def write_graph(index: Index) -> float:
  """Makes the graph of approximate search beside the index's shards, if need be.

  Returns:
    Its recall: the share of the ten nearest rows, by exact search, that are among the
    ten which the graph gives; of rows of the index that are disturbed.

  Raises:
    UserError: usearch is not installed.
  """
  path = graph_path(index)
  if not path.exists():
    graph = _usearch().Index(ndim=index.width, metric='ip', dtype='f32')
    for start in range(0, len(index), ROWS_AT_ONCE):
      keys = np.arange(start, min(start + ROWS_AT_ONCE, len(index)), dtype=np.uint64)
      graph.add(keys, index.features_at(keys))
    with replacing(path) as new:
      graph.save(os.fspath(new))
    for old in set(index.folder.glob('graph-*.usearch')) - {path}:
      old.unlink(missing_ok=True)
  recall = graph_recall(index)
  logging.info(
    '%s: recall@%d %.3f beside exact search, of %d queries near rows of the index',
    *(path, NEIGHBOURS, recall, min(QUERIES, len(index))),
  )
  return recall


def graph_recall(index: Index) -> float:
  """See `write_graph`."""
  rng = np.random.default_rng(0)
  rows = rng.choice(len(index), size=min(QUERIES, len(index)), replace=False)
  queries = index.features_at(rows)
  # Half as long as they are: a row itself would be found too easily.
  noise = rng.standard_normal(queries.shape, np.float32)
  queries += 0.5 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
  queries /= np.linalg.norm(queries, axis=1, keepdims=True)
  exact = top_rows(index.parts, queries, top=NEIGHBOURS).rows
  near = search_graph(index, queries, top=NEIGHBOURS).rows
  shared = sum(len({*a} & {*b}) for a, b in zip(exact, near, strict=True))
  return shared / exact.size


def search_graph(index: Index, queries: np.ndarray, *, top: int) -> Best:
  """As `top_rows`, nearly, without reading all features.

  Raises:
    UserError: there is no graph of this index, or usearch is not installed.
  """
  path, engine = graph_path(index), _usearch()
  if not path.exists():
    others = any(index.folder.glob('graph-*.usearch'))
    found = 'one of rows that have changed since' if others else 'none'
    raise UserError(
      f'--approximate: expected a graph of the {len(index):,} rows, {path.name}; found '
      f'{found} in {index.folder}. Make it: give the command that made the index '
      'again, with --approximate.'
    )
  graph = engine.Index.restore(os.fspath(path), view=True)
  count = min(top, len(index))
  rows = np.zeros((len(queries), count), np.int64)
  products = np.full(rows.shape, -np.inf, np.float32)
  for query, feature in enumerate(queries):
    found = graph.search(feature, count)
    rows[query, : len(found.keys)] = found.keys
    # The distance of its inner product is one minus it.
    products[query, : len(found.keys)] = 1 - found.distances
  return Best(rows, products)


def _usearch():
  try:
    import usearch.index
  except ImportError as error:
    raise UserError(
      '--approximate: expected usearch; it is not installed. '
      "pip install 'harma_jax[search]', or search exactly."
    ) from error
  return usearch.index
