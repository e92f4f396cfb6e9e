"""The rows with the largest products, exactly: all products are computed.

Features stay where they are mapped; only the products of some rows at a time, and
their features as f32 where they are stored otherwise, are held.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from harma_jax.search_index.index import Part

# Measured with OpenBLAS on two cores: products of one query are bound by memory, and
# rows of 16 bits must still be in the cache when they have become f32; products of many
# are several times slower in small blocks.
ROWS_AT_ONCE = {'one': 2**15, 'many': 2**16, 'one int16': 2**13, 'many int16': 2**15}


class Best(NamedTuple):
  """The best rows of some queries, best first.

  Attributes:
    rows: i64[Q, k].
    products: f32[Q, k], falling; -inf where fewer than k rows were allowed.
  """

  rows: np.ndarray
  products: np.ndarray


def top_rows(
  parts: Sequence[Part],
  queries: np.ndarray,
  *,
  top: int,
  allowed: np.ndarray | None = None,
  rows_at_once: int = 0,
) -> Best:
  """The rows with the largest inner products; of equal products the first.

  Equal rows may differ in the last bit of their products, as the library sums them.

  Args:
    parts: n rows in all, see `Index.parts`.
    queries: f32[Q, D].
    top: how many; all where there are fewer.
    allowed: bool[n], the rows that may be found; all by default.
    rows_at_once: how many products of a query are held at a time; 0 for what is fast.
  """
  best = _Best(len(queries), top=top)
  start = 0
  for part in parts:
    own = None if allowed is None else allowed[start : start + len(part)]
    for rows, products in _products(part, queries, rows_at_once=rows_at_once):
      _offer(best, part, rows, products, start=start, allowed=own)
    start += len(part)
  return best.found(min(top, start))


def _products(
  part: Part, queries: np.ndarray, *, rows_at_once: int
) -> Iterator[tuple[int, np.ndarray]]:
  """The first row of a block, with f32[rows, Q], or f32[rows] of one query."""
  many = len(queries) > 1
  columns = np.ascontiguousarray(queries.T) if many else queries[0]
  values, scale = part.features
  kind = ('many' if many else 'one') + ('' if scale is None else ' int16')
  size = min(rows_at_once or ROWS_AT_ONCE[kind], max(len(values), 1))
  out = np.empty((size, len(queries)) if many else size, np.float32)
  wide = None if scale is None else np.empty((size, values.shape[1]), np.float32)
  for start in range(0, len(values), size):
    block = values[start : start + size]
    if wide is not None:
      wide[: len(block)] = block
      block = wide[: len(block)]
    products = np.dot(block, columns, out=out[: len(block)])
    if scale is not None:
      products *= scale[start : start + size].reshape(-1, *([1] * many))
    yield start, products.reshape(len(block), -1)


def _offer(
  best: '_Best',
  part: Part,
  first: int,
  products: np.ndarray,
  *,
  start: int,
  allowed: np.ndarray | None,
) -> None:
  """Hands the products of rows that count, and may be found, on to `best`."""
  stop = first + len(products)
  if part.rows is None:
    number, kept = first, None
  else:
    low, high = np.searchsorted(part.rows, (first, stop))
    number, kept = int(low), part.rows[low:high] - first
    products = products[kept]
  if allowed is not None:
    inside = np.flatnonzero(allowed[number : number + len(products)])
    best.offer(start + number + inside, products[inside])
  else:
    best.offer(start + number, products)


class _Best:
  """The best rows of each query so far."""

  def __init__(self, n_queries: int, *, top: int):
    self._top = top
    self._rows = [np.zeros(0, np.int64)] * n_queries
    self._products = [np.zeros(0, np.float32)] * n_queries
    self._least = np.full(n_queries, -np.inf, np.float32)

  def offer(self, rows: int | np.ndarray, products: np.ndarray) -> None:
    """Takes f32[n, Q] in; `rows` are their numbers, or that of the first."""
    if not len(products):
      return
    # Few rows exceed the least of the best: a comparison costs less than a partition.
    some = np.flatnonzero((products > self._least).any(axis=0))
    for query in some:
      column = products[:, query]
      better = np.flatnonzero(column > self._least[query])
      self._take(
        query, rows + better if np.isscalar(rows) else rows[better], column[better]
      )

  def _take(self, query: int, rows: np.ndarray, products: np.ndarray) -> None:
    rows = np.concatenate([self._rows[query], rows])
    products = np.concatenate([self._products[query], products])
    kept = largest(products, count=self._top)
    self._rows[query], self._products[query] = rows[kept], products[kept]
    if len(kept) == self._top:
      self._least[query] = products[kept[-1]]

  def found(self, count: int) -> Best:
    rows = np.zeros((len(self._rows), count), np.int64)
    products = np.full(rows.shape, -np.inf, np.float32)
    for query, (own, values) in enumerate(zip(self._rows, self._products, strict=True)):
      rows[query, : len(own)], products[query, : len(own)] = own, values
    return Best(rows, products)


def largest(values: np.ndarray, *, count: int) -> np.ndarray:
  """Where the `count` largest values are, falling; of equals the first."""
  if count >= len(values):
    return np.argsort(-values, kind='stable')
  least = np.partition(values, -count)[-count]
  candidates = np.flatnonzero(values >= least)
  return candidates[np.argsort(-values[candidates], kind='stable')[:count]]
