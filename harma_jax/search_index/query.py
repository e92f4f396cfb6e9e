"""The rows of an index that are most similar to a query: exact, or by a graph."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
from absl import logging

from harma_jax.errors import UserError
from harma_jax.search_index.index import GRAPH_FILE, Index, replacing

ROWS_AT_ONCE = 2**16
LARGE = 1_000_000  # rows, from where on an exact search takes long


class Hit(NamedTuple):
  """A row of an index that answers a query.

  Attributes:
    image: relative to the index's folder of images.
    similarity: cosine.
    box: left, top, width, height in pixels.
    corners: longitude and latitude (WGS84) of the box's corners, from the top left over
      the bottom left; None where not known.
  """

  image: str
  similarity: float
  box: tuple[int, int, int, int]
  corners: tuple[tuple[float, float], ...] | None


def search(
  index: Index,
  feature: np.ndarray,
  *,
  top: int,
  approximate: bool = False,
  allowed: np.ndarray | None = None,
) -> list[Hit]:
  """The `top` rows most similar to a unit feature f32[D], best first.

  Args:
    index: whose rows.
    feature: what to look for.
    top: how many.
    approximate: by the graph, where all rows are allowed.
    allowed: bool[n], the rows that may be found; None for all.

  Raises:
    UserError: `top` below 1; `approximate` without a graph or without usearch.
  """
  if top < 1:
    raise UserError(f'--top: expected at least 1; found {top}.')
  if allowed is not None:
    within = np.flatnonzero(allowed)
    rows, similarities = top_rows(index.features[within], feature, top=top)
    rows = within[rows]
  elif approximate:
    rows, similarities = search_graph(index, feature, top=top)
  else:
    if len(index) > LARGE:
      logging.info('%d rows: --approximate searches them faster', len(index))
    rows, similarities = top_rows(index.features, feature, top=top)
  return [_hit(index, *found) for found in zip(rows, similarities, strict=True)]


def top_rows(
  features: np.ndarray, query: np.ndarray, *, top: int, rows_at_once: int = ROWS_AT_ONCE
) -> tuple[np.ndarray, np.ndarray]:
  """The rows with the largest inner product, exactly; of equal products the first.

  Equal rows may differ in the last bit of their products, as the library sums them.

  Args:
    features: f32[n, D].
    query: f32[D].
    top: how many; all where there are fewer.
    rows_at_once: how many products are held at a time.

  Returns:
    i64[k] rows and f32[k] products, falling.
  """
  best, products = np.zeros(0, np.int64), np.zeros(0, np.float32)
  for start in range(0, len(features), rows_at_once):
    new = features[start : start + rows_at_once] @ query
    rows = _largest(new, count=top)
    best = np.concatenate([best, start + rows])
    products = np.concatenate([products, new[rows]])
    kept = _largest(products, count=top)
    best, products = best[kept], products[kept]
  return best, products


def write_graph(index: Index) -> pathlib.Path:
  """Makes the graph of approximate search beside the index's shards.

  Raises:
    UserError: usearch is not installed.
  """
  features = index.features
  graph = _usearch().Index(ndim=features.shape[1], metric='ip', dtype='f32')
  graph.add(np.arange(len(features), dtype=np.uint64), features)
  path = index.folder / GRAPH_FILE
  with replacing(path) as new:
    graph.save(os.fspath(new))
  return path


def search_graph(
  index: Index, query: np.ndarray, *, top: int
) -> tuple[np.ndarray, np.ndarray]:
  """As `top_rows`, nearly, without reading all features.

  Raises:
    UserError: there is no graph of this index, or usearch is not installed.
  """
  path = index.folder / GRAPH_FILE
  graph = _usearch().Index.restore(os.fspath(path), view=True) if path.exists() else ()
  if len(graph) != len(index):
    raise UserError(
      f'--approximate: expected {path} with {len(index):,} rows; found '
      f'{f"{len(graph):,}" if path.exists() else "none"}. Make it: give the command '
      'that made the index again, with --approximate.'
    )
  found = graph.search(query, min(top, len(index)))
  # The distance of its inner product is one minus it.
  return found.keys.astype(np.int64), 1 - found.distances


def _largest(values: np.ndarray, *, count: int) -> np.ndarray:
  """Where the `count` largest values are, falling; of equals the first."""
  if count >= len(values):
    return np.argsort(-values, kind='stable')
  least = np.partition(values, -count)[-count]
  candidates = np.flatnonzero(values >= least)
  return candidates[np.argsort(-values[candidates], kind='stable')[:count]]


def _hit(index: Index, row: int, similarity: float) -> Hit:
  corners = index.corners[row]
  is_known = np.isfinite(corners).all()
  return Hit(
    image=index.names[index.file[row]],
    similarity=float(similarity),
    box=tuple(index.boxes[row].tolist()),
    corners=tuple(map(tuple, corners.tolist())) if is_known else None,
  )


def _usearch():
  try:
    import usearch.index
  except ImportError as error:
    raise UserError(
      '--approximate: expected usearch; it is not installed. '
      "pip install 'harma_jax[search]', or search exactly."
    ) from error
  return usearch.index
