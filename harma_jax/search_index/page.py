"""What was found as one HTML page, images within."""

import pathlib
from collections.abc import Sequence

from harma_jax.data.images import read_image
from harma_jax.reporting.page import escape, figure, page, picture
from harma_jax.search_index.index import Index
from harma_jax.search_index.query import Hit
from harma_jax.search_index.reader import read_crop, stored_how

THUMBNAIL = 320  # pixels

_STYLE = (
  'body{font:16px/1.4 sans-serif;margin:1rem auto;max-width:75rem;padding:0 1rem}'
  'main{display:grid;gap:1rem;'
  'grid-template-columns:repeat(auto-fill,minmax(10rem,1fr))}'
  'figure{margin:0}img{width:100%;aspect-ratio:1;object-fit:contain;'
  'background:#eee}header img{width:10rem}'
  'figcaption{font-size:.85rem;overflow-wrap:anywhere}'
)


def page_of(
  hits: Sequence[Hit], index: Index, *, text: str = '', image: str = ''
) -> str:
  """One HTML page of the hits without any other file.

  A picture that cannot be read any more is left blank, with a warning.

  Args:
    hits: best first.
    index: that they were found in; its images are read.
    text: that was searched for, or empty.
    image: the path of one that was searched for, or empty.
  """
  title = text or f'like {pathlib.Path(image).name}'
  query = ''
  if image:
    how = stored_how(index.manifest['preprocessing'])
    query = picture(lambda: read_image(image, how=how), alt=image, side=THUMBNAIL)
  note = f'The {len(hits)} most similar of {len(index):,}, by cosine.'
  figures = [_figure(hit, index, rank=rank) for rank, hit in enumerate(hits, 1)]
  header = f'<header><h1>{escape(title)}</h1>{query}<p>{note}</p></header>'
  return page(title, f'{header}<main>{"".join(figures)}</main>', style=_STYLE)


def _figure(hit: Hit, index: Index, *, rank: int) -> str:
  tiled = index.tiled
  path = index.images / hit.image
  how = stored_how(index.manifest['preprocessing'])
  shown = picture(
    lambda: read_crop(path, hit.box, how=how), alt=hit.image, side=THUMBNAIL
  )
  left, top, width, height = hit.box
  box = f'<br>{width} x {height} px at {left}, {top}' if tiled else ''
  words = f'{rank}. <b>{hit.similarity:.3f}</b> {escape(hit.image)}{box}'
  return figure(shown, words)
