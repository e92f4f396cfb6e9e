"""Annotation files of captioned images: finding them, and their rows as written.

Tables (CSV, TSV, parquet) are read by `table_files.py`, JSON by `json_forms.py`; what a
file is, is told by its content.
"""

import collections
import glob
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence

from harma_jax.data.entries import Entry, shorten
from harma_jax.data.json_forms import entries_of
from harma_jax.data.reading import AS_WRITTEN, Reading, say_once
from harma_jax.data.table_files import (
  parse_json,
  read_csv,
  read_json_lines,
  read_parquet,
)
from harma_jax.errors import UserError

SPLIT_WORDS = ('train', 'val', 'test', 'valid', 'validation', 'dev')
RESTVAL = 'restval'  # Karpathy's: images that are neither tested nor validated on

# What `auto` looks for, the first kind with a file counts: {split} is the split asked.
WANTED = (
  ('*_{split}.json',),
  ('dataset*.json',),
  (
    *('{split}.jsonl', '{split}.csv', 'captions_{split}.jsonl', 'captions_{split}.csv'),
    *('{split}.tsv', '{split}.parquet', '{split}.json'),
  ),
  ('captions.jsonl', 'captions.csv', 'captions.tsv', 'captions.parquet'),
  ('*_{split}.csv', '*_{split}.tsv', '*_{split}.jsonl', '*_{split}.parquet'),
)
ENDINGS = ('.json', '.jsonl', '.ndjson', '.csv', '.tsv', '.parquet')


def require_folder(path: str | os.PathLike, *, field: str, what: str) -> pathlib.Path:
  """The folder of a field of the config.

  Raises:
    UserError: there is none; says what lies beside it.
  """
  given = os.fspath(path)
  if not given:  # which pathlib would take for the current folder
    raise UserError(f'{field}: expected {what}; found none. {_hint(field)}')
  path = pathlib.Path(given).expanduser()
  if path.is_dir():
    return path
  parent = path.parent
  beside = f' {parent} holds: {listing(parent)}.' if parent.is_dir() else ''
  raise UserError(
    f'{field}: expected {what}; found no folder {path}.{beside} {_hint(field)}'
  )


def _hint(field: str) -> str:
  return f'Pass --config.{field}=FOLDER.'


def listing(folder: pathlib.Path, *, most: int = 12) -> str:
  """The first names of a folder, for a message."""
  with os.scandir(folder) as entries:
    names = sorted(entry.name + '/' * entry.is_dir() for entry in entries)
  more = f', and {len(names) - most} more' if len(names) > most else ''
  return ', '.join(names[:most]) + more or 'nothing'


def find_annotations(
  root: pathlib.Path, *, split: str, annotations: str
) -> pathlib.Path:
  """The annotation file of a split.

  Args:
    root: folder of the data set.
    split: its name.
    annotations: `auto` to look for one of `WANTED`, or a file, absolute or relative to
      `root`; the word `{split}` in it stands for `split`. Of several, with commas, the
      one that has the split in its name, else the one with no split in it.

  Raises:
    UserError: there is none, or more than one.
  """
  if annotations == 'auto':
    return _search_annotations(root, split=split)
  names = [name.replace('{split}', split) for name in annotations.split(',')]
  paths = [root / pathlib.Path(name.strip()).expanduser() for name in names]
  path = paths[0] if len(paths) == 1 else _one_of(paths, split=split)
  if path.is_file():
    return path
  where = path.parent if path.parent.is_dir() else root
  raise UserError(
    f'data.annotations: expected the file of split {split!r}; found no file {path}. '
    f'{where} holds: {listing(where)}. Pass --config.data.annotations=FILE (relative '
    'to data.root, {split} stands for the split), or auto.'
  )


def _one_of(paths: Sequence[pathlib.Path], *, split: str) -> pathlib.Path:
  """The file among several that holds a split, by their names."""
  named = [path for path in paths if split.lower() in _words(path)]
  found = named or [path for path in paths if not splits_named(path)]
  if len(found) == 1:
    return found[0]
  names = ', '.join(path.name for path in found or paths)
  raise UserError(
    f'data.annotations: expected one file of split {split!r} among those that are '
    f'given; found {len(found)}: {names}. Name each file by its split, as in '
    f'captions_{split}.csv.'
  )


def _search_annotations(root: pathlib.Path, *, split: str) -> pathlib.Path:
  for kind in WANTED:
    patterns = [name.replace('{split}', glob.escape(split)) for name in kind]
    found = sorted(
      {
        path
        for pattern in patterns
        for path in root.glob(pattern)
        if path.is_file() and not path.name.startswith('.')
      }
    )
    if len(found) > 1:
      raise UserError(
        f'data.annotations: expected one file of split {split!r} in {root}; found '
        f'{", ".join(path.name for path in found)}. Choose with '
        f'--config.data.annotations={found[0].name}.'
      )
    if found:
      return found[0]
  wanted = ', '.join(name.replace('{split}', split) for kind in WANTED for name in kind)
  raise UserError(
    f'data.annotations: expected annotations of split {split!r} in {root}, one of '
    f'{wanted}; found: {listing(root)}. Ask for a split that is there, or pass '
    '--config.data.annotations=FILE.'
  )


def read_entries(
  path: pathlib.Path, *, reading: Reading = AS_WRITTEN
) -> Iterator[Entry]:
  """The rows of a file as they are written, one after another.

  Raises:
    UserError: while iterating: the file cannot be read, has none of the forms, or no
      rows.
  """
  if path.suffix.lower() not in ENDINGS:
    raise UserError(
      f'data.annotations: expected a file that ends in {", ".join(ENDINGS)}; '
      f'found {path}.'
    )
  count = 0
  try:
    for entry in _reader_of(path)(path, asked=reading.columns):
      count += 1
      yield entry
  except UnicodeDecodeError as error:
    raise _not_utf8(path) from error
  except OSError as error:
    raise UserError(
      f'{path}: expected a file that can be read; {error.strerror}. Check its '
      'permissions.'
    ) from error
  if not count:
    raise UserError(f'{path}: expected rows of an image and a caption; found none.')


def _reader_of(path: pathlib.Path):
  """What reads a file, by its first bytes where its ending leaves it open."""
  ending = path.suffix.lower()
  with path.open('rb') as file:
    first, second = file.readline().strip(), file.readline()
  if ending == '.parquet' or first.startswith(b'PAR1'):
    return read_parquet
  if ending in ('.csv', '.tsv'):
    return read_csv
  if ending == '.json':
    return read_json_lines if second and _is_object(first) else _read_json
  return _read_json if first.startswith(b'[') else read_json_lines


def _is_object(line: bytes) -> bool:
  """Whether a line is a JSON object by itself."""
  try:
    return isinstance(json.loads(line), dict)
  except (ValueError, RecursionError):
    return False


def _read_json(path: pathlib.Path, *, asked: str) -> Iterator[Entry]:
  text = path.read_text(encoding='utf-8-sig')
  return entries_of(parse_json(text, path=path), path=path, asked=asked)


def _not_utf8(path: pathlib.Path) -> UserError:
  """Says which byte of a file is not UTF-8, and in which line."""
  with path.open('rb') as file:
    for line, content in enumerate(file, start=1):
      try:
        content.decode()
      except UnicodeDecodeError as error:
        return UserError(
          f'{path}, line {line}: expected text in UTF-8; found byte '
          f'{content[error.start]:#04x} at position {error.start}. Save the file as '
          'UTF-8.'
        )
  return UserError(f'{path}: expected text in UTF-8. Save the file as UTF-8.')


def entries_of_split(
  entries: Iterable[Entry],
  *,
  path: pathlib.Path,
  split: str,
  restval: bool = True,
  by_name: bool = True,
) -> Iterator[Entry]:
  """The rows of a split: by their field "split", else by the file's name.

  Case and blanks around a name do not count.

  Args:
    entries: of the file, one after another.
    path: of the file.
    split: its name.
    restval: whether rows of `RESTVAL` are of the split `train`.
    by_name: whether a file without that field must be one of the split by its name,
      see `check_file_split`.

  Raises:
    UserError: while iterating: some rows name a split and some do not, or none is of
      this one.
  """
  found, unnamed, wanted = collections.Counter(), None, split.strip().lower()
  taken = 0
  for entry in entries:
    if unnamed and entry.split is None:  # as in every row before
      taken += 1
      yield entry
      continue
    name = split_of(entry)
    if name is None and unnamed is None and not found:
      unnamed = entry.place
      if by_name:
        check_file_split(path, split=split)
    if (name is None and found) or (name is not None and unnamed):
      raise _unnamed(unnamed or entry.place, found=None)
    if name is not None:
      found[name] += 1
      if restval and name == RESTVAL:
        name = 'train'
    if name is None or name == wanted:
      taken += 1
      yield entry
  if not taken:
    raise _no_split(found, path=path, split=split)
  say_restval(found[RESTVAL] * (restval and wanted == 'train'), path=path)


def split_of(entry: Entry) -> str | None:
  """The name of the split of a row as it is compared; None where it has no such field.

  Raises:
    UserError: the field is empty, or no text.
  """
  name = entry.split
  if name is None:
    return None
  if not isinstance(name, str) or not name.strip():
    raise _unnamed(entry.place, found=name)
  return name.strip().lower()


def splits_in(entries: Iterable[Entry], *, restval: bool = True) -> set[str]:
  """The splits that rows name; none where they have no such field, or it is wrong."""
  names = {entry.split for entry in entries if isinstance(entry.split, str)}
  names = {name.strip().lower() for name in names if name.strip()}
  return {'train' if restval and name == RESTVAL else name for name in names}


def _no_split(
  found: collections.Counter, *, path: pathlib.Path, split: str
) -> UserError:
  counts = ', '.join(f'{name} ({count} rows)' for name, count in found.items())
  return UserError(
    f'{path}: expected rows of split {split!r}; found only {counts}. Ask for one of '
    'these, or pass --config.data.annotations=FILE; --config.data.hold_out=0.1 takes '
    'a tenth of the training images for validation.'
  )


def say_restval(rows: int, *, path: pathlib.Path) -> None:
  """Tells how many rows of `RESTVAL` are training data, where there are any."""
  if rows:
    say_once(
      f'{path.name}: {rows:,} rows of split {RESTVAL!r} are training data, as is the '
      'custom; restval=False leaves them out'
    )


def _unnamed(place: str, *, found: object) -> UserError:
  return UserError(
    f'{place}: expected the name of a split, as in other rows of this file; found '
    f'{shorten(found)}. Fill in the field "split".'
  )


def check_file_split(path: pathlib.Path, *, split: str) -> None:
  """Checks that the rows of a file without a field "split" are those of `split`.

  They belong to the split in the file's name, else to `train`.

  Raises:
    UserError: they belong to another.
  """
  name = path.stem.lower()
  if re.search(rf'(?<![a-z0-9]){re.escape(split.lower())}(?![a-z0-9])', name):
    return
  named = splits_named(path) or ['train']
  if named == [split]:
    return
  raise UserError(
    f'{path}: expected rows of split {split!r}; found rows without a field "split", '
    f'which a file of this name gives to {named[0]!r}. Add the field (in CSV a column) '
    f'"split", or name the file by its split, as in captions_{split}{path.suffix}; '
    '--config.data.annotations=NAME_{split}.json says where it stands in a name, and '
    '--config.data.hold_out=0.1 takes a tenth of the training images for validation.'
  )


def _words(path: pathlib.Path) -> list[str]:
  return re.split(r'[^a-z0-9]+', path.stem.lower())


def splits_named(path: pathlib.Path) -> list[str]:
  """The names of splits in the name of a file."""
  return [word for word in _words(path) if word in SPLIT_WORDS]
