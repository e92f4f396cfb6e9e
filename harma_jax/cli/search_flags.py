"""The flags of `search`, and what they say as plain values."""

import pathlib
import re

from absl import flags

from harma_jax.errors import UserError
from harma_jax.search_index.point import read_point
from harma_jax.search_index.query import OVERLAPS
from harma_jax.search_index.shards import STORAGES

_TILE = flags.DEFINE_list('tile', '0', 'Pixels, or several sizes; 0: whole images.')
_STRIDE = flags.DEFINE_list('stride', '0', 'Pixels, of each tile; 0: half a tile.')
_STORAGE = flags.DEFINE_enum(
  'storage', STORAGES[0], STORAGES, 'Of features; int16 takes half the bytes.'
)
_VERIFY = flags.DEFINE_bool(
  'verify', False, 'Compare files by content, not by size and time alone.'
)
WATCH = flags.DEFINE_integer(
  'watch',
  0,
  'Seconds between looks at the folder, until stopped; 0: one look.',
  lower_bound=0,
)
_SHARE = flags.DEFINE_string('share', '0/1', 'I/N: the work of machine I out of N.')
_APPROXIMATE = flags.DEFINE_bool(
  'approximate', False, 'Make, and search by, a graph: for many millions of rows.'
)
IMAGE = flags.DEFINE_string('image', None, 'An image file to search for.')
_BOX = flags.DEFINE_list('box', None, 'Left, top, width, height: a part of --image.')
_AT = flags.DEFINE_string('at', None, 'LON,LAT: search for what the index has there.')
_MINUS = flags.DEFINE_string('minus', None, 'Words for what to avoid.')
QUERIES = flags.DEFINE_string(
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


def index_settings() -> dict:
  """What the flags say of making an index, as `Model.make_index` takes it."""
  return {
    'tile': _numbers(_TILE),
    'stride': _numbers(_STRIDE),
    'storage': _STORAGE.value,
    'verify': _VERIFY.value,
    'share': _share(),
    'approximate': _APPROXIMATE.value,
  }


def search_settings() -> dict:
  """What the flags say of a search, as `Model.search_texts` takes it."""
  return {
    'top': _TOP.value,
    'approximate': _APPROXIMATE.value,
    'overlap': _OVERLAP.value,
  }


def query_settings() -> dict:
  """What the flags say to look for, as `Model.search` takes it."""
  return {
    'at': read_point(_AT.value) if _AT.value else None,
    'minus': _MINUS.value or '',
  }


def box() -> tuple[int, int, int, int] | None:
  """Left, top, width and height of a part of `--image`; None for the whole."""
  if _BOX.value is None:
    return None
  numbers = _numbers(_BOX)
  if len(numbers) != 4 or min(numbers[:2]) < 0 or min(numbers[2:]) < 1:
    raise UserError(
      '--box: expected left, top, width and height in pixels, as in '
      f'--box=512,0,256,256; found {",".join(_BOX.value)!r}.'
    )
  if not IMAGE.value:
    raise UserError(
      '--box: expected the image that it is of, --image=FILE; found none.'
    )
  return tuple(numbers)


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


def _numbers(flag: flags.FlagHolder) -> list[int]:
  try:
    return [int(word) for word in flag.value]
  except ValueError as error:
    raise UserError(
      f'--{flag.name}: expected whole numbers with commas between; found '
      f'{",".join(flag.value)!r}.'
    ) from error


def _share() -> tuple[int, int]:
  match = re.fullmatch(r'(\d+)/(\d+)', _SHARE.value)
  if not match:
    raise UserError(f'--share: expected I/N, as in 0/4; found {_SHARE.value!r}.')
  return int(match[1]), int(match[2])
