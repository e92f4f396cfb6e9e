"""Annotation files of captioned images: finding them, and their rows as written.

Three forms are read, told apart by their content:
  - HarMA / PIR: a JSON list, `{image, caption}` a row, the caption a string or a list
    of strings; one file a split (`rsicd_train.json`);
  - Karpathy: a JSON object `{images: [{filename, split, sentences: [{raw}]}]}`, all
    splits in one file (`dataset_rsicd.json`);
  - JSON lines or CSV with the columns `image`, `caption` and, optionally, `split`.
"""

import collections
import csv
import glob
import io
import json
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harma_jax.errors import UserError

SPLIT_WORDS = ('train', 'val', 'test', 'valid', 'validation', 'dev')

# What `auto` looks for, the first kind with a file counts: {split} is the split asked.
WANTED = (
  ('*_{split}.json',),
  ('dataset*.json',),
  ('{split}.jsonl', '{split}.csv', 'captions_{split}.jsonl', 'captions_{split}.csv'),
  ('captions.jsonl', 'captions.csv'),
)


class Entry(NamedTuple):
  """A row of a file as it is written; it may lack what it should have."""

  place: str  # as messages name it: `rsicd_train.json, row 3`
  fields: dict


class Row(NamedTuple):
  """A row of any form, with at least one caption."""

  place: str
  image: str  # relative to the image folder, with `/`
  captions: list[str]


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
      `root`; the word `{split}` in it stands for `split`.

  Raises:
    UserError: there is none, or more than one.
  """
  if annotations == 'auto':
    return _search_annotations(root, split=split)
  path = root / pathlib.Path(annotations.replace('{split}', split)).expanduser()
  if path.is_file():
    return path
  where = path.parent if path.parent.is_dir() else root
  raise UserError(
    f'data.annotations: expected the file of split {split!r}; found no file {path}. '
    f'{where} holds: {listing(where)}. Pass --config.data.annotations=FILE (relative '
    'to data.root, {split} stands for the split), or auto.'
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


def read_entries(path: pathlib.Path) -> list[Entry]:
  """The rows of a file as they are written, each a dict.

  Raises:
    UserError: the file cannot be read, has none of the forms, or no rows.
  """
  if path.suffix.lower() not in _READERS:
    raise UserError(
      f'data.annotations: expected a file that ends in {", ".join(_READERS)}; '
      f'found {path}.'
    )
  try:
    text = path.read_text(encoding='utf-8-sig')
  except OSError as error:
    raise UserError(
      f'{path}: expected a file that can be read; {error.strerror}. Check its '
      'permissions.'
    ) from error
  except UnicodeDecodeError as error:
    raise UserError(
      f'{path}: expected text in UTF-8; found byte {error.object[error.start]:#04x} at '
      f'position {error.start}. Save the file as UTF-8.'
    ) from error
  rows = _READERS[path.suffix.lower()](text, path=path)
  entries = [Entry(f'{path}, {place}', fields) for place, fields in rows]
  if not entries:
    raise UserError(f'{path}: expected rows of an image and a caption; found none.')
  for place, fields in entries:
    if not isinstance(fields, dict):
      raise unusable_row(place, fields)
  return entries


def _read_json(text: str, *, path: pathlib.Path) -> Iterable[tuple[str, dict]]:
  content = _parse_json(text, path=path)
  if isinstance(content, dict):
    content = content.get('images')
  if not isinstance(content, list):
    raise UserError(
      f'{path}: expected a JSON list of rows, or an object whose "images" is one; '
      f'found {shorten(text)}.'
    )
  return ((f'row {row}', fields) for row, fields in enumerate(content, start=1))


def _read_jsonl(text: str, *, path: pathlib.Path) -> Iterable[tuple[str, dict]]:
  # Not splitlines(): it also splits at characters that JSON allows inside a string.
  for line, row in enumerate(text.split('\n'), start=1):
    if row.strip():
      yield f'line {line}', _parse_json(row, path=path, first_line=line)


def _parse_json(text: str, *, path: pathlib.Path, first_line: int = 1) -> object:
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


def _read_csv(text: str, *, path: pathlib.Path) -> Iterable[tuple[str, dict]]:
  rows = csv.DictReader(
    io.StringIO(text, newline=''), skipinitialspace=True, strict=True
  )
  line = 0
  try:
    _check_header(rows.fieldnames or [], path=path)
    line = rows.line_num
    for row in rows:
      line = rows.reader.line_num  # rows.line_num does not count blank lines
      if None in row:
        raise UserError(
          f'{path}, line {line}: expected {len(rows.fieldnames)} columns; found '
          f'{len(row) - 1 + len(row[None])}. Put a caption that contains commas '
          'between double quotes.'
        )
      yield f'line {line}', row
  except csv.Error as error:
    # An open quote swallows the rest of the file: name where the row begins.
    raise UserError(
      f'{path}, line {line + 1}: expected CSV; {error}. Correct the line.'
    ) from error


def _check_header(columns: Sequence[str], *, path: pathlib.Path) -> None:
  if not {'image', 'caption'} <= set(columns):
    raise UserError(
      f'{path}, line 1: expected a header with the columns image and caption; found '
      f'{shorten(", ".join(columns))}.'
    )


_READERS = {'.json': _read_json, '.jsonl': _read_jsonl, '.csv': _read_csv}


def entries_of_split(
  entries: Sequence[Entry], *, path: pathlib.Path, split: str
) -> Sequence[Entry]:
  """The rows whose field "split" names `split`.

  Raises:
    UserError: a row names no split, or none names this one.
  """
  found = collections.Counter()
  for place, fields in entries:
    name = fields.get('split')
    if not name or not isinstance(name, str):
      raise UserError(
        f'{place}: expected the name of a split, as in other rows of this file; found '
        f'{shorten(name)}. Fill in the field "split".'
      )
    found[name] += 1
  if split not in found:
    counts = ', '.join(f'{name} ({count} rows)' for name, count in found.items())
    raise UserError(
      f'{path}: expected rows of split {split!r}; found only {counts}. Ask for one of '
      'these, or pass --config.data.annotations=FILE; --config.data.hold_out=0.1 takes '
      'a tenth of the training images for validation.'
    )
  return [entry for entry in entries if entry.fields['split'] == split]


def check_file_split(path: pathlib.Path, *, split: str) -> None:
  """Checks that the rows of a file without a field "split" are those of `split`.

  They belong to the split in the file's name, else to `train`.

  Raises:
    UserError: they belong to another.
  """
  name = path.stem.lower()
  if re.search(rf'(?<![a-z0-9]){re.escape(split.lower())}(?![a-z0-9])', name):
    return
  words = re.split(r'[^a-z0-9]+', name)
  named = [word for word in words if word in SPLIT_WORDS] or ['train']
  if named == [split]:
    return
  raise UserError(
    f'{path}: expected rows of split {split!r}; found rows without a field "split", '
    f'which a file of this name gives to {named[0]!r}. Add the field (in CSV a column) '
    f'"split", or name the file by its split, as in captions_{split}{path.suffix}; '
    '--config.data.annotations=NAME_{split}.json says where it stands in a name, and '
    '--config.data.hold_out=0.1 takes a tenth of the training images for validation.'
  )


def parse_row(entry: Entry) -> Row:
  """The image and the captions of a row; what the captions say is not looked at.

  Raises:
    UserError: an image or the captions are missing or no text, or the image's path
      leads out of the image folder.
  """
  place, fields = entry
  image, captions = _karpathy(fields) if 'sentences' in fields else _plain(fields)
  texts = isinstance(captions, list) and [isinstance(text, str) for text in captions]
  if not isinstance(image, str) or not texts or not all(texts):
    raise unusable_row(place, fields)
  return Row(place, _relative_path(image, place=place), captions)


def _plain(fields: dict) -> tuple[object, object]:
  caption = fields.get('caption')
  return fields.get('image'), [caption] if isinstance(caption, str) else caption


def _karpathy(fields: dict) -> tuple[object, object]:
  try:
    return fields['filename'], [sentence['raw'] for sentence in fields['sentences']]
  except (KeyError, TypeError):
    return None, None


def unusable_row(place: str, found: object) -> UserError:
  """What to raise of a row that has none of the forms."""
  return UserError(
    f'{place}: expected {{"image": FILE, "caption": TEXT}} (or a list of texts), or '
    '{"filename": FILE, "split": NAME, "sentences": [{"raw": TEXT}]}; found '
    f'{shorten(found)}. Correct or remove the row.'
  )


def shorten(found: object, *, most: int = 120) -> str:
  """What was found as text for a message, cut where it is long."""
  text = found if isinstance(found, str) else json.dumps(found)
  return text if 0 < len(text) <= most else repr(text[:most]) + '...' * bool(text)


def _relative_path(image: str, *, place: str) -> str:
  path = pathlib.PurePath(image)
  if path.anchor or '..' in path.parts or not path.parts:
    raise UserError(
      f'{place}: expected an image file below the image folder; found {image!r}. Write '
      'it relative to that folder, which --config.data.images=FOLDER sets.'
    )
  return path.as_posix()
