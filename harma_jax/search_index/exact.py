"""The rows with the largest products, exactly: all products are computed.

Features stay where they are mapped; only the products of some rows at a time, and
their features as f32 where they are stored otherwise, are held.
"""

import collections
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import NamedTuple

import numpy as np

from harma_jax.search_index.index import Part
from harma_jax.search_index.shards import Features

# Measured on two cores. Products of one query are bound by memory: threads of our own,
# each with some rows, keep their pace where other programs run too, and those of
# OpenBLAS, which wait for each other, do not. Products of many queries are OpenBLAS's,
# several times slower in small blocks.
ROWS_OF_ONE, ROWS_OF_MANY = 2**15, 2**16
FIRST = 16  # times as many rows as are asked for, by which the others are judged
WIDENED = 2**10  # rows of 16 bits that are still in the cache when they have become f32


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
  """The first row of each block, rising, with f32[rows, Q]."""
  is_one = len(queries) == 1
  most = ROWS_OF_MANY // (1 if part.features.scale is None else 2)
  size = rows_at_once or (ROWS_OF_ONE if is_one else most)
  starts = range(0, len(part.features.values), size)
  blocks = (_block(part.features, slice(start, start + size)) for start in starts)
  if is_one:
    multiply = functools.partial(_times_one, query=queries[0])
    products = _threads().map(multiply, blocks)
  else:
    multiply = _times_many(np.ascontiguousarray(queries.T), most_rows=size)
    products = map(multiply, blocks)
  yield from zip(starts, products, strict=True)


def _block(features: Features, rows: slice) -> Features:
  scale = None if features.scale is None else features.scale[rows]
  return Features(features.values[rows], scale)


def _times_one(block: Features, query: np.ndarray) -> np.ndarray:
  """f32[n, 1]."""
  if block.scale is None:
    return np.vecdot(block.values, query)[:, None]
  products = np.empty(len(block.values), np.float32)
  wide = np.empty((min(WIDENED, len(products)), len(query)), np.float32)
  for start in range(0, len(products), WIDENED):
    values = block.values[start : start + WIDENED]
    wide[: len(values)] = values
    np.vecdot(wide[: len(values)], query, out=products[start : start + WIDENED])
  return (products * block.scale)[:, None]


def _times_many(
  columns: np.ndarray, *, most_rows: int
) -> Callable[[Features], np.ndarray]:
  """`multiply(block)`: f32[n, Q] of rows with columns f32[D, Q]."""
  wide = np.empty((0, len(columns)), np.float32)

  def widen(block, start):
    some = slice(start, start + WIDENED)
    wide[some][: len(block.values) - start] = block.values[some]

  def multiply(block):
    nonlocal wide
    if block.scale is None:
      return block.values @ columns
    if not len(wide):  # once: fresh memory costs as much as the product
      wide = np.empty((most_rows, len(columns)), np.float32)
    starts = range(0, len(block.values), WIDENED)
    collections.deque(_threads().map(functools.partial(widen, block), starts), 0)
    return wide[: len(block.values)] @ columns * block.scale[:, None]

  return multiply


@functools.cache
def _threads() -> futures.ThreadPoolExecutor:
  """For products, as many as this program may use cores."""
  may_use = getattr(os, 'sched_getaffinity', None)
  return futures.ThreadPoolExecutor(len(may_use(0)) if may_use else os.cpu_count())


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
    if np.isscalar(rows):
      rows = np.arange(rows, rows + len(products))
    # Few rows exceed the least of the best so far, and a comparison costs less than a
    # search of the largest: the first rows alone set it.
    first = FIRST * self._top if np.isneginf(self._least).any() else 0
    for part in (slice(first), slice(first, None)):
      self._offer(rows[part], products[part])

  def _offer(self, rows: np.ndarray, products: np.ndarray) -> None:
    row, query = np.nonzero(products > self._least)
    order = np.argsort(query, kind='stable')
    row, query = row[order], query[order]
    for number in np.unique(query):
      start, stop = np.searchsorted(query, (number, number + 1))
      some = row[start:stop]
      self._take(number, rows[some], products[some, number])

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
