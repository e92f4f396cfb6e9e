"""Rows of CSV, TSV, JSON lines and parquet, one after another: no file is held whole.

Which columns are what `columns.py` decides; a CSV's separator is the one (comma, tab,
semicolon, bar) with which its header has them.
"""

import contextlib
import csv
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harma_jax.data.columns import Columns, choose_columns
from harma_jax.data.entries import Entry, shorten
from harma_jax.data.json_forms import captions_of, entry_of, say_columns, say_fields
from harma_jax.errors import UserError

if TYPE_CHECKING:  # an extra, which not every installation has
  import pyarrow.parquet as pq

_SEPARATORS = ',\t;|'


def read_csv(path: pathlib.Path, *, asked: str) -> Iterator[Entry]:
  """The rows of a table of text, a line each.

  Raises:
    UserError: its columns are not known, or a line is not what CSV allows.
    OSError, UnicodeDecodeError: as `open` and its file.
  """
  with path.open(encoding='utf-8-sig', newline='') as file:
    separator, columns, names = _read_header(file.readline(), path=path, asked=asked)
  say_columns(columns, path=path)
  image = names.index(columns.image)
  split = names.index(columns.split) if columns.split else None
  captions = [names.index(name) for name in columns.captions]
  needed, width = max(image, *captions), len(names)
  before = f'{path}, line '  # a path is slow to become a text
  for line, row in _csv_rows(path, separator=separator):
    if len(row) != width:
      row = _filled(row, needed=needed, names=names, place=f'{before}{line}')
    texts = [row[captions[0]]] if len(captions) == 1 else [row[i] for i in captions]
    if len(texts) > 1 or texts[0] is None or texts[0][:2] == '["':
      texts = captions_of([listed(text) for text in texts])
    name = None if split is None else row[split]
    yield Entry(f'{before}{line}', row[image], texts, name, row)


def read_json_lines(path: pathlib.Path, *, asked: str) -> Iterator[Entry]:
  """The rows of a file with a JSON object a line.

  Raises:
    UserError: a line is no JSON, or no row that is known.
    OSError, UnicodeDecodeError: as `open` and its file.
  """
  before = f'{path}, line '
  # Not every character that ends a line for Python does in JSON.
  with path.open(encoding='utf-8-sig', newline='\n') as file:
    for line, row in enumerate(file, start=1):
      if row.strip():
        fields = parse_json(row.rstrip('\n'), path=path, first_line=line)
        entry = entry_of(fields, place=f'{before}{line}', asked=asked)
        if line == 1:
          say_fields(entry, path=path, asked=asked)
        yield entry


def parse_json(text: str, *, path: pathlib.Path, first_line: int = 1) -> object:
  """The content of a text of JSON that begins at a line of a file.

  Raises:
    UserError: it is none, or too deep or long for Python.
  """
  try:
    return json.loads(text)
  except json.JSONDecodeError as error:
    raise UserError(
      f'{path}, line {first_line + error.lineno - 1}, column {error.colno}: expected '
      f'JSON; {error.msg}. Correct or complete the file (a JSON object a line is read '
      'from a file that ends in .jsonl).'
    ) from error
  except (RecursionError, ValueError) as error:  # ValueError: thousands of digits
    raise UserError(
      f'{path}, from line {first_line}: expected rows of an image and a caption; found '
      f'JSON that cannot be read: {error}. Correct the file.'
    ) from error


def read_parquet(path: pathlib.Path, *, asked: str) -> Iterator[Entry]:
  """The rows of a parquet table that names its images.

  Raises:
    UserError: pyarrow is missing, the file is damaged, its columns are not known, or it
      holds the images themselves.
  """
  with opened_parquet(path) as file:
    yield from _parquet_rows(file, path=path, asked=asked)


@contextlib.contextmanager
def opened_parquet(path: pathlib.Path) -> Iterator['pq.ParquetFile']:
  """A parquet file, open; what goes wrong in it is a message.

  Raises:
    UserError: pyarrow is missing, or the file is damaged.
  """
  try:
    import pyarrow as pa
    import pyarrow.parquet as pq
  except ImportError as error:
    raise UserError(
      f'{path}: expected pyarrow, which reads parquet; it is not installed. Run: '
      "pip install 'harma_jax[parquet]'"
    ) from error
  try:
    with path.open('rb') as content, pq.ParquetFile(content) as file:
      yield file
  except (pa.ArrowException, OSError) as error:
    raise UserError(
      f'{path}: expected a whole parquet file; {str(error).rstrip(".")}. The file is '
      'damaged or was not copied to its end: copy it anew.'
    ) from error


def _read_header(
  line: str, *, path: pathlib.Path, asked: str
) -> tuple[str, Columns, list[str]]:
  """The separator, which column is what, and all names."""
  refusals = []
  for separator in _SEPARATORS:
    names = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    try:
      place = f'{path}, line 1'
      return separator, choose_columns(names, asked=asked, place=place), names
    except UserError as error:
      refusals.append((len(names), error))
  # The one that tells most of the columns apart; of several, the comma.
  raise max(refusals, key=lambda refusal: refusal[0])[1]


def _csv_rows(path: pathlib.Path, *, separator: str) -> Iterator[tuple[int, list[str]]]:
  """The rows of a table after its header, without blank ones, and the lines they end.

  A row may hold line breaks, so that lines are not rows.
  """
  with path.open(encoding='utf-8-sig', newline='') as file:
    rows = csv.reader(file, delimiter=separator, skipinitialspace=True, strict=True)
    line = 0
    try:
      next(rows)
      line = rows.line_num
      for row in rows:
        line = rows.line_num
        if row:
          yield line, row
    except csv.Error as error:
      # An open quote swallows the rest of the file: name where the row begins.
      raise UserError(
        f'{path}, line {line + 1}: expected CSV; {error}. Correct the line.'
      ) from error


def _filled(
  row: list[str], *, needed: int, names: Sequence[str], place: str
) -> list[str | None]:
  """A short row with what it lacks at its end: None, or '' for what is not needed."""
  if len(row) > len(names):
    raise UserError(
      f'{place}: expected {len(names)} columns; found {len(row)}. Put a caption that '
      'contains commas between double quotes.'
    )
  missing = len(names) - len(row)
  return row + ([None] if len(row) <= needed else ['']) * missing


def listed(cell: object) -> object:
  """The texts of a cell that holds a JSON list of them, as copies of parquet do."""
  if not isinstance(cell, str) or not cell.startswith('["'):
    return cell
  try:
    return json.loads(cell)
  except (ValueError, RecursionError):
    return cell


def _parquet_rows(file, *, path: pathlib.Path, asked: str) -> Iterator[Entry]:
  names = file.schema_arrow.names
  columns = choose_columns(names, asked=asked, place=str(path))
  _check_names(file.schema_arrow.field(columns.image).type, columns, path=path)
  say_columns(columns, path=path)
  wanted = [columns.image, *columns.captions, *filter(None, [columns.split])]
  before, row = f'{path}, row ', 0
  for batch in file.iter_batches(batch_size=8192, columns=wanted):
    for cells in zip(*(batch.column(name).to_pylist() for name in wanted), strict=True):
      row += 1
      captions = captions_of(cells[1 : 1 + len(columns.captions)])
      split = cells[-1] or '' if columns.split else None
      yield Entry(f'{before}{row}', cells[0], captions, split, list(cells))


def _check_names(kind, columns: Columns, *, path: pathlib.Path) -> None:
  """Whether a column holds names of images, of this type of Arrow."""
  import pyarrow as pa

  texts = pa.types.is_string(kind) or pa.types.is_large_string(kind)
  if not texts and not pa.types.is_dictionary(kind):
    raise UserError(
      f'{path}: expected names of image files in the column {columns.image!r}; found '
      f'{shorten(str(kind))}, the images themselves. Write them once: python -m '
      'harma_jax.data prepare --dataset=captions --source=FOLDER --out=FOLDER'
    )
