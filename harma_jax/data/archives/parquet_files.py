"""Parquet tables that hold the pictures, as the hub's copies of data sets do.

The picture is a struct `{bytes, path}`, or the bytes themselves; where there are none,
a file of that name. Rows come a few at a time: a file is never held whole.
"""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from harma_jax.data.archives.samples import (
  Sample,
  bad_sample,
  checked,
  joined,
  label_of,
  size_problem,
)
from harma_jax.data.columns import Columns, choose_columns, read_asked
from harma_jax.data.entries import Entry
from harma_jax.data.json_forms import captions_of, say_columns
from harma_jax.data.table_files import listed, opened_parquet
from harma_jax.errors import UserError

if TYPE_CHECKING:  # an extra, which not every installation has
  import pyarrow as pa

ROWS_AT_ONCE = 64
# The field of a struct that has the bytes, and the one that has the name.
BYTES, PATH = 'bytes', 'path'

# Gives the content of a file by its name; None where there is none.
ReadFile = Callable[[str], bytes | None]


class _Row(NamedTuple):
  name: str | None
  content: bytes | None
  captions: list | None
  split: object


def read_parquet_pictures(
  path: pathlib.Path, *, asked: str, read_file: ReadFile
) -> Iterator[Sample]:
  """The pictures of a parquet file; rows beside each other of one picture are one.

  Args:
    path: of the file.
    asked: what the user says of columns, see `columns.py`.
    read_file: reads a picture that the file only names.

  Raises:
    UserError: it is no whole parquet file, its columns are not known, or it neither
      holds nor names pictures.
  """
  with opened_parquet(path) as file:
    columns = picture_columns(file.schema_arrow, asked=asked, place=str(path))
    say_columns(columns, path=path)
    yield from joined(_samples(file, columns, path=path, read_file=read_file))


def holds_pictures(path: pathlib.Path) -> bool:
  """Whether a column of a parquet file holds pictures, by its type.

  Raises:
    UserError: it is no whole parquet file.
  """
  with opened_parquet(path) as file:
    return bool(_picture_columns(file.schema_arrow))


def picture_columns(schema: 'pa.Schema', *, asked: str, place: str) -> Columns:
  """Which column of a file is what; a picture goes before a name.

  Raises:
    UserError: captions or pictures are not known, or there are several columns of them.
  """
  pictures = _picture_columns(schema)
  columns = choose_columns(schema.names, asked=asked, place=place, needs_image=False)
  if columns.image in pictures or read_asked(asked).get('image'):
    return columns
  if len(pictures) > 1:
    raise UserError(
      f'{place}: expected one column of pictures; found {", ".join(pictures)}. Choose: '
      f'--config.data.columns=image={pictures[0]}'
    )
  if pictures:
    return columns._replace(image=pictures[0], file=columns.image)
  if columns.image:
    return columns
  raise UserError(
    f'{place}: expected a column of pictures, as {{bytes, path}} or bytes, or of their '
    f'files; found {", ".join(schema.names)}. Choose another file, or name it: '
    '--config.data.columns=image=NAME'
  )


def _picture_columns(schema: 'pa.Schema') -> list[str]:
  return [field.name for field in schema if _is_picture(field.type)]


def _is_picture(kind: 'pa.DataType') -> bool:
  import pyarrow as pa

  if pa.types.is_struct(kind):
    at = kind.get_field_index(BYTES)
    return at >= 0 and _is_picture(kind.field(at).type)
  return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _samples(
  file, columns: Columns, *, path: pathlib.Path, read_file: ReadFile
) -> Iterator[Sample]:
  before = f'{path}, row '
  for number, row in enumerate(_rows(file, columns), start=1):
    place = f'{before}{number}'
    name = row.name if isinstance(row.name, str) and row.name else f'row {number}'
    label = label_of(name)
    if not label:
      problem = f'expected a name of a picture; found {name!r}. Rename it.'
      yield bad_sample(place, problem)
      continue
    content = row.content or read_file(label)
    problem = _problem_of(content, column=columns.image, name=row.name)
    if problem:
      yield bad_sample(place, problem)
    else:
      yield checked(Entry(place, label, row.captions, row.split, label), content)


def _problem_of(content: bytes | None, *, column: str, name: str | None) -> str:
  if content:
    return size_problem('jpg', len(content))
  named = f'the name {name!r}, which is no file' if name else 'nothing'
  return (
    f'expected the bytes of a picture in {column!r}, or a file that it names; found '
    f'{named}. Put the files below the source (--images=FOLDER), or remove the row.'
  )


def _rows(file, columns: Columns) -> Iterator[_Row]:
  texts = columns.captions
  wanted = dict.fromkeys((columns.image, *texts, columns.split, columns.file))
  names = [name for name in wanted if name]
  # Without threads: the pictures are of one column, which one thread decodes.
  for batch in file.iter_batches(ROWS_AT_ONCE, columns=names, use_threads=False):
    contents, paths = _pictures(batch.column(columns.image))
    if columns.file:
      paths = batch.column(columns.file).to_pylist()
    cells = [batch.column(name).to_pylist() for name in texts]
    splits = [None] * len(batch)
    if columns.split:
      splits = batch.column(columns.split).to_pylist()
    for name, content, split, *captions in zip(
      paths, contents, splits, *cells, strict=True
    ):
      yield _Row(name, content, captions_of([listed(each) for each in captions]), split)


def _pictures(column: 'pa.Array') -> tuple[Sequence, Sequence]:
  """The bytes and the names of a column's pictures; None for what is not there."""
  import pyarrow as pa

  nothing = [None] * len(column)
  if pa.types.is_struct(column.type):
    has_path = column.type.get_field_index(PATH) >= 0
    paths = column.field(PATH).to_pylist() if has_path else nothing
    return column.field(BYTES).to_pylist(), paths
  if _is_picture(column.type):
    return column.to_pylist(), nothing
  return nothing, column.to_pylist()
