"""The flags of `search query` that say what to look for, as plain values."""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags, logging

from harma_jax.cli.shared_flags import asks_for_json, numbers, write_text
from harma_jax.errors import UserError
from harma_jax.search_index.overlap import OVERLAPS

if TYPE_CHECKING:
  from PIL import Image

  from harma_jax.search_index.index import Index
  from harma_jax.search_index.query import Hit

APPROXIMATE = flags.DEFINE_bool(
  'approximate', False, 'Make, and search by, a graph: for many millions of rows.'
)
IMAGE = flags.DEFINE_string('image', None, 'An image file to search for.')
_BOX = flags.DEFINE_list('box', None, 'Left, top, width, height: a part of --image.')
_HTML = flags.DEFINE_string('html', None, 'A page to write, images within.')
_AT = flags.DEFINE_string('at', None, 'LON,LAT: search for what the index has there.')
_MINUS = flags.DEFINE_string('minus', None, 'Words for what to avoid.')
_QUERIES = flags.DEFINE_string(
  'queries',
  None,
  'A file of queries, one a line; answers go to --out=FILE.csv or to lines of JSON.',
)
_TOP = flags.DEFINE_integer('top', 12, 'How many are shown.', lower_bound=1)
_OVERLAP = flags.DEFINE_enum(
  'overlap',
  OVERLAPS[0],
  OVERLAPS,
  'Show each place once, by its best row, or all rows.',
)


def search_settings() -> dict:
  """What the flags say of a search, as `Model.search_texts` takes it."""
  return {
    'top': _TOP.value,
    'approximate': APPROXIMATE.value,
    'overlap': _OVERLAP.value,
  }


def query_settings() -> dict:
  """What the flags say to look for, as `Model.search` takes it."""
  from harma_jax.search_index.point import read_point

  return {
    'at': read_point(_AT.value) if _AT.value else None,
    'minus': _MINUS.value or '',
  }


def box() -> tuple[int, int, int, int] | None:
  """Left, top, width and height of a part of `--image`; None for the whole."""
  if _BOX.value is None:
    return None
  values = numbers(_BOX)
  if len(values) != 4 or min(values[:2]) < 0 or min(values[2:]) < 1:
    raise UserError(
      '--box: expected left, top, width and height in pixels, as in '
      f'--box=512,0,256,256; found {",".join(_BOX.value)!r}.'
    )
  if not IMAGE.value:
    raise UserError(
      '--box: expected the image that it is of, --image=FILE; found none.'
    )
  return tuple(values)


def shown_image(index: 'Index') -> 'pathlib.Path | Image.Image | None':
  """What --image and --box show, read as the index was; None for no image.

  Raises:
    UserError: as `box`, or a part of an image that cannot be read.
  """
  part = box()
  path = IMAGE.value and pathlib.Path(IMAGE.value).expanduser()
  if not part:
    return path
  from harma_jax.search_index.reader import read_crop, stored_how

  return read_crop(path, part, how=stored_how(index.manifest['preprocessing']))


def read_queries(path: str) -> list[str]:
  """The lines of a file that are not empty.

  Raises:
    UserError: it cannot be read, or has none.
  """
  try:
    lines = pathlib.Path(path).expanduser().read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeError) as error:
    raise UserError(
      f'--queries: expected a file in UTF-8, a query a line; found {path}: {error}.'
    ) from error
  queries = [line.strip() for line in lines if line.strip()]
  if not queries:
    raise UserError(f'--queries: expected a query a line; found none in {path}.')
  return queries


def queries() -> list[str]:
  """The lines of the file that --queries names; none where it names none."""
  return read_queries(_QUERIES.value) if _QUERIES.value else []


def write_page(hits: Sequence['Hit'], index: 'Index', *, text: str) -> None:
  """Writes what was found as a page, where --html names one, and says so."""
  if _HTML.value:
    from harma_jax.search_index.page import page_of

    page = page_of(hits, index, text=text, image=IMAGE.value or '')
    logging.info('%s: %s bytes', write_text(_HTML, page), f'{len(page.encode()):,}')


def show(text: str, hits: Sequence['Hit']) -> None:
  """Prints what was found as a table or, with --json, an object a line."""
  from harma_jax.search_index.answers import json_lines_of
  from harma_jax.search_index.tables import print_hits

  if asks_for_json():
    print(json_lines_of([text], [hits]), end='')
  else:
    print_hits(hits)


def write_answers(
  texts: Sequence[str], answers: Sequence[Sequence['Hit']], *, out: flags.FlagHolder
) -> None:
  """Writes what was found to the file that `out` names, or prints it."""
  from harma_jax.search_index.answers import csv_of_answers, json_lines_of

  as_table = (out.value or '').endswith('.csv')
  content = (csv_of_answers if as_table else json_lines_of)(texts, answers)
  if out.value:
    logging.info('%s: %s bytes', write_text(out, content), f'{len(content.encode()):,}')
  else:
    print(content, end='')
