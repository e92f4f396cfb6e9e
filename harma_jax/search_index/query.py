"""What an index answers to a query: rows, best first, each place once."""

from typing import NamedTuple

import numpy as np
from absl import logging

from harma_jax.errors import UserError
from harma_jax.search_index.exact import top_rows
from harma_jax.search_index.graph import search_graph
from harma_jax.search_index.index import Index
from harma_jax.search_index.overlap import OVERLAPS, best_of_places

LARGE = 5_000_000  # rows, from where on an exact search takes a second
AHEAD = 8  # times as many candidates as are shown, of which some lie in one place


class Hit(NamedTuple):
  """A row of an index that answers a query.

  Attributes:
    image: relative to the index's folder of images.
    similarity: cosine.
    box: left, top, width, height in pixels.
    corners: longitude and latitude (WGS84) of the box's corners, from the top left over
      the bottom left; None where not known.
    row: its number in the index as it was opened.
    rank: among all rows that were searched, 1 for the best; overlapping ones count.
      0 where it is not known: a graph sees some rows alone.
    searched: how many rows that were.
  """

  image: str
  similarity: float
  box: tuple[int, int, int, int]
  corners: tuple[tuple[float, float], ...] | None
  row: int = -1
  rank: int = 0
  searched: int = 0


def search(
  index: Index,
  feature: np.ndarray,
  *,
  top: int,
  approximate: bool = False,
  allowed: np.ndarray | None = None,
  overlap: str = 'best',
) -> list[Hit]:
  """The `top` rows most similar to a unit feature f32[D]: `search_many` of one."""
  [hits] = search_many(
    index,
    feature[None],
    top=top,
    approximate=approximate,
    allowed=allowed,
    overlap=overlap,
  )
  return hits


def search_many(
  index: Index,
  features: np.ndarray,
  *,
  top: int,
  approximate: bool = False,
  allowed: np.ndarray | None = None,
  overlap: str = 'best',
) -> list[list[Hit]]:
  """The rows most similar to each of some unit features f32[Q, D], best first.

  Args:
    index: what is searched.
    features: of the queries.
    top: how many hits a query has; fewer where there are no more.
    approximate: by the graph of the index, if it has one.
    allowed: bool[n], the rows that may be found; all by default.
    overlap: `best` for each place once, by its best row, see `best_of_places`; `keep`
      for all rows.

  Raises:
    UserError: `top` below 1, another word for `overlap`, no row allowed; `approximate`
      without a graph, without usearch or with `allowed`.
  """
  searched = len(index) if allowed is None else int(np.count_nonzero(allowed))
  _check(top=top, overlap=overlap, searched=searched)
  if approximate and allowed is not None:
    raise UserError(
      '--approximate: expected a search of all rows; found one of some places. A graph '
      'has no filter: search exactly.'
    )
  if not approximate and searched > LARGE:
    logging.info('%d rows: --approximate searches them faster', searched)

  def find(queries, count):
    if approximate:
      return search_graph(index, queries, top=count)
    return top_rows(index.parts, queries, top=count, allowed=allowed)

  count = top if overlap == 'keep' else min(top * AHEAD, searched)
  answers = _answers(index, *find(features, count), top=top, overlap=overlap)
  for number, (rows, *_) in enumerate(answers):
    wanted = count
    # A place may have more rows than were looked at.
    while len(rows) < top and wanted < searched:
      wanted = min(wanted * AHEAD, searched)
      found = find(features[number : number + 1], wanted)
      [answers[number]] = _answers(index, *found, top=top, overlap=overlap)
      rows, *_ = answers[number]
  ranked = 0 if approximate else searched
  return [
    [_hit(index, *each, searched=ranked) for each in zip(*answer, strict=True)]
    for answer in answers
  ]


def _check(*, top: int, overlap: str, searched: int) -> None:
  if top < 1:
    raise UserError(f'--top: expected at least 1; found {top}.')
  if overlap not in OVERLAPS:
    raise UserError(
      f'--overlap: expected one of {", ".join(OVERLAPS)}; found {overlap!r}.'
    )
  if not searched:
    raise UserError(
      'Expected rows of the index where is searched; found none there. Search a larger '
      'place, or without one.'
    )


def _answers(
  index: Index, rows: np.ndarray, products: np.ndarray, *, top: int, overlap: str
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Rows, products and ranks of what is shown of each query."""
  answers = []
  for own, values in zip(rows, products, strict=True):
    known = np.isfinite(values)
    own, values = own[known], values[known]
    if overlap == 'best':
      kept = best_of_places(index, own, top=top)
    else:
      kept = np.arange(min(top, len(own)))
    answers.append((own[kept], values[kept], 1 + kept))
  return answers


def _hit(index: Index, row: int, product: float, rank: int, *, searched: int) -> Hit:
  corners = index.corners[row]
  is_known = np.isfinite(corners).all()
  return Hit(
    image=index.names[index.file[row]],
    similarity=float(product),
    box=tuple(index.boxes[row].tolist()),
    corners=tuple(map(tuple, corners.tolist())) if is_known else None,
    row=int(row),
    rank=int(rank) if searched else 0,
    searched=searched,
  )
