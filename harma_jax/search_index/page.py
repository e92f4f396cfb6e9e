"""What was found as one HTML page, images within."""

import base64
import html
import io
import pathlib
from collections.abc import Callable, Sequence

from absl import logging
from PIL import Image

from harma_jax.data.images import read_image
from harma_jax.errors import UserError
from harma_jax.search_index.index import Index
from harma_jax.search_index.query import Hit
from harma_jax.search_index.reader import read_crop

THUMBNAIL = 320  # pixels

_HEAD = (
  '<!doctype html><html lang="en"><meta charset="utf-8">'
  '<meta name="viewport" content="width=device-width">'
  '<title>{title}</title><style>'
  'body{{font:16px/1.4 sans-serif;margin:1rem auto;max-width:75rem;padding:0 1rem}}'
  'main{{display:grid;gap:1rem;'
  'grid-template-columns:repeat(auto-fill,minmax(10rem,1fr))}}'
  'figure{{margin:0}}img{{width:100%;aspect-ratio:1;object-fit:contain;'
  'background:#eee}}header img{{width:10rem}}'
  'figcaption{{font-size:.85rem;overflow-wrap:anywhere}}'
  '</style><header><h1>{title}</h1>{query}<p>{note}</p></header><main>'
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
  title = html.escape(text or f'like {pathlib.Path(image).name}')
  query = _picture(lambda: read_image(image), name=image) if image else ''
  note = f'The {len(hits)} most similar of {len(index):,}, by cosine.'
  figures = [_figure(hit, index, rank=rank) for rank, hit in enumerate(hits, 1)]
  head = _HEAD.format(title=title, query=query, note=note)
  return head + ''.join(figures) + '</main></html>'


def _figure(hit: Hit, index: Index, *, rank: int) -> str:
  tiled = bool(index.manifest['tile'])
  path = index.images / hit.image
  picture = _picture(lambda: read_crop(path, hit.box, tiled=tiled), name=hit.image)
  left, top, width, height = hit.box
  box = f'<br>{width} x {height} px at {left}, {top}' if tiled else ''
  return (
    f'<figure>{picture}<figcaption>{rank}. <b>{hit.similarity:.3f}</b> '
    f'{html.escape(hit.image)}{box}</figcaption></figure>'
  )


def _picture(read: Callable[[], Image.Image], *, name: str) -> str:
  try:
    source = f'data:image/jpeg;base64,{_thumbnail(read())}'
  except UserError as error:
    logging.warning('left blank on the page: %s', error)
    source = 'data:,'
  return f'<img src="{source}" alt="{html.escape(name)}">'


def _thumbnail(image: Image.Image) -> str:
  image = image.copy()
  image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
  buffer = io.BytesIO()
  image.save(buffer, 'JPEG', quality=85)
  return base64.b64encode(buffer.getvalue()).decode('ascii')
