"""An index and the model that searches it, as the page knows them."""

import dataclasses
import json
import threading
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from harma_jax.search_index.filters import rows_within
from harma_jax.search_index.geojson import geojson_of
from harma_jax.search_index.geoparquet import geoparquet_of
from harma_jax.search_index.index import Index
from harma_jax.search_index.outlines import geometry_of
from harma_jax.search_index.query import Hit
from harma_jax.search_index.reader import read_crop, stored_how
from harma_jax.search_index.records import centre_of, readable
from harma_jax.search_index.tables import better_than
from harma_jax.search_page.dates import date_of
from harma_jax.search_page.question import Question

# `search(text=, image=, minus=, top=, overlap=, allowed=)`: hits, best first.
Search = Callable[..., Sequence[Hit]]

# Content types of what is shown, by the form that is asked for.
FORMS = {
  'json': 'application/json',
  'geojson': 'application/geo+json',
  'geoparquet': 'application/vnd.apache.parquet',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Archive:
  """What is searched.

  Attributes:
    index: of the pictures.
    search: asks it.
  """

  index: Index
  search: Search
  _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

  def about(self) -> dict:
    """What the page says of the archive before anything is asked."""
    placed = np.isfinite(self.index.corners).all(axis=(1, 2))
    return {
      'name': self.index.folder.name,
      'images': len(self.index.names) - len(self.index.skipped),
      'rows': len(self.index),
      'placed': int(placed.sum()),
      'tiled': self.index.tiled,
    }

  def answer(self, question: Question, *, form: str) -> bytes:
    """What is found, in one of `FORMS`.

    Raises:
      UserError: as the search, or no hit has a place where a map is asked for.
    """
    hits = self._hits(question)
    if form == 'geojson':
      return geojson_of(hits).encode()
    if form == 'geoparquet':
      return geoparquet_of(hits)
    shown = [_shown(hit, number=number) for number, hit in enumerate(hits, 1)]
    return json.dumps({'hits': shown}).encode()

  def _hits(self, question: Question) -> Sequence[Hit]:
    allowed = rows_within(self.index.corners, bbox=question.bbox)
    picture = question.picture
    if question.row is not None:
      picture = self._picture_of(question.row)
    # One at a time: a query takes all of the machine.
    with self._lock:
      return self.search(
        text=question.text,
        image=picture,
        minus=question.minus,
        top=question.top,
        overlap=question.overlap,
        allowed=allowed,
      )

  def _picture_of(self, row: int) -> Image.Image:
    path = self.index.images / self.index.names[self.index.file[row]]
    how = stored_how(self.index.manifest['preprocessing'])
    return read_crop(path, self.index.boxes[row].tolist(), how=how)


def _shown(hit: Hit, *, number: int) -> dict:
  """A hit as the page shows it."""
  place = {}
  if hit.corners:
    [[longitude, latitude]] = centre_of(np.array([hit.corners])).tolist()
    place = {'centre': [longitude, latitude], 'outline': geometry_of(hit.corners)}
  return {
    'number': number,
    'row': int(hit.row),
    'scene': readable(hit.image),
    'date': date_of(hit.image),
    'cosine': round(hit.similarity, 3),
    'better_than': better_than(hit) if hit.searched else '',
    'box': list(hit.box),
    **place,
  }
