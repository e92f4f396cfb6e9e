"""HTML pages of one file: shell, pictures, figures and tables; nothing is fetched."""

import base64
import html
import io
import pathlib
from collections.abc import Callable, Iterable, Sequence

from absl import logging
from PIL import Image

from harma_jax import __version__
from harma_jax.errors import UserError

STYLE = pathlib.Path(__file__).with_name('style.css')
THUMBNAIL = 160  # pixels
LONGEST = 300  # characters of a text of the data that are shown

# Even a text that slipped through unescaped could then load or run nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, body: str, *, style: str) -> str:
  """A whole page.

  Args:
    title: plain text.
    body: HTML.
    style: CSS.
  """
  return (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    f'<title>{html.escape(title)}</title><style>{style}</style></head>'
    f'<body>{body}</body></html>\n'
  )


def footer(body: str) -> str:
  """What stands below a body of HTML: what wrote it, and how large it is."""
  return (
    f'<footer><p><small>Written by harma_jax {__version__}. About '
    f'{len(body.encode()) / 1e6:.1f} MB; nothing is fetched.</small></p></footer>'
  )


def escape(text: str, *, most: int = LONGEST) -> str:
  """A text of the data as HTML, cut after `most` characters, which `...` then says."""
  return html.escape(text if len(text) <= most else f'{text[:most]}...')


def picture(read: Callable[[], Image.Image], *, alt: str, side: int = THUMBNAIL) -> str:
  """An `<img>` that holds its picture as JPEG, at most `side` pixels wide and high.

  A picture that cannot be read is left blank, with a warning.

  Args:
    read: gives the image, or raises UserError.
    alt: plain text that stands for the picture.
    side: in pixels.
  """
  try:
    source = f'data:image/jpeg;base64,{_jpeg(read(), side=side)}'
  except UserError as error:
    logging.warning('left blank on the page: %s', error)
    source = 'data:,'
  return f'<img src="{source}" alt="{escape(alt)}">'


def _jpeg(image: Image.Image, *, side: int) -> str:
  image = image.copy()
  image.thumbnail((side, side), Image.Resampling.LANCZOS)
  buffer = io.BytesIO()
  image.save(buffer, 'JPEG', quality=85)
  return base64.b64encode(buffer.getvalue()).decode('ascii')


def section(title: str, *parts: str) -> str:
  """A part of the page; `title` is plain text, `parts` are HTML."""
  return f'<section><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def paragraph(text: str) -> str:
  """A paragraph of plain text."""
  return f'<p>{html.escape(text)}</p>'


def figure(content: str, caption: str, *, kind: str = '') -> str:
  """A figure of HTML with a caption of HTML; `kind` is its class."""
  named = f' class="{kind}"' if kind else ''
  return f'<figure{named}>{content}<figcaption>{caption}</figcaption></figure>'


def table(
  rows: Iterable[Sequence[str]],
  *,
  header: Sequence[str] = (),
  caption: str = '',
  numbers: bool = False,
) -> str:
  """A table of plain texts that scrolls by itself where it is too wide.

  The first cell of a row is its header; `numbers` aligns the others on the right.
  """
  head = ''.join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
  head = f'<thead><tr>{head}</tr></thead>' if header else ''
  body = ''.join(
    f'<tr><th scope="row">{escape(first)}</th>'
    + ''.join(f'<td>{escape(cell)}</td>' for cell in cells)
    + '</tr>'
    for first, *cells in rows
  )
  named = ' class="numbers"' if numbers else ''
  title = f'<caption>{escape(caption)}</caption>' if caption else ''
  return (
    '<div class="wide" tabindex="0">'
    f'<table{named}>{title}{head}<tbody>{body}</tbody></table></div>'
  )
