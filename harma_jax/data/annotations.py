"""One table of captions and images from the annotation files that are in use.

Three forms are read, told apart by their content:
  - HarMA / PIR: a JSON list, `{image, caption}` a row, the caption a string or a list
    of strings; one file a split (`rsicd_train.json`);
  - Karpathy: a JSON object `{images: [{filename, split, sentences: [{raw}]}]}`, all
    splits in one file (`dataset_rsicd.json`);
  - JSON lines or CSV with the columns `image`, `caption` and, optionally, `split`.
"""

import collections
import csv
import dataclasses
import glob
import hashlib
import io
import json
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from harma_jax.errors import UserError

SPLIT_WORDS = ('train', 'val', 'test', 'valid', 'validation', 'dev')

# What `auto` looks for, the first kind with a file counts: {split} is the split asked.
WANTED = (
  ('*_{split}.json',),
  ('dataset*.json',),
  ('{split}.jsonl', '{split}.csv', 'captions_{split}.jsonl', 'captions_{split}.csv'),
  ('captions.jsonl', 'captions.csv'),
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CaptionTable:
  """The captions of one split, and the image each belongs to.

  Attributes:
    image_root: folder of the images.
    image_files: one per distinct image, relative to `image_root` with `/`, in order of
      first appearance.
    captions: as annotated, in the order of the file.
    caption_image: i32[n_captions], the row of `image_files`; read-only.
    split: name of the split.
  """

  image_root: pathlib.Path
  image_files: tuple[str, ...]
  captions: tuple[str, ...]
  caption_image: np.ndarray
  split: str

  @property
  def n_images(self) -> int:
    return len(self.image_files)

  @property
  def n_captions(self) -> int:
    return len(self.captions)

  def image_path(self, row: int) -> pathlib.Path:
    """The file of image `row`."""
    return self.image_root / self.image_files[row]


class _Entry(NamedTuple):
  place: str  # as messages name it: `rsicd_train.json, row 3`
  fields: dict


class _Row(NamedTuple):
  place: str
  image: str
  captions: list[str]


def load_captions(
  root: str | os.PathLike,
  *,
  split: str,
  annotations: str = 'auto',
  images: str = 'images',
) -> CaptionTable:
  """Reads the captions of one split and checks that every image is there.

  Args:
    root: folder of the data set.
    split: `train`, `val`, `test`, or what the annotations call it.
    annotations: `auto` to find the file in `root` (see `WANTED`), or a file, absolute
      or relative to `root`; the word `{split}` in it stands for `split`.
    images: folder of the images, absolute or relative to `root`.

  Raises:
    UserError: a folder, file, split, field or image that is missing, a row that cannot
      be used, or an image that lies outside of the image folder, be it by its path or
      by a symbolic link; the message names it.
  """
  root = _folder(root, field='data.root', what='the folder of the data set')
  path = _find_annotations(root, split=split, annotations=annotations)
  entries = _read_entries(path)
  if any('split' in entry.fields for entry in entries):
    entries = _entries_of_split(entries, path=path, split=split)
  elif '{split}' not in annotations:
    _check_file_split(path, split=split)
  image_root = root / pathlib.Path(images).expanduser()
  image_root = _folder(image_root, field='data.images', what='the image folder')
  rows = [_read_row(entry) for entry in entries]
  table = _make_table(rows, image_root=image_root, split=split)
  _check_images(table)
  _check_links(rows, image_root=image_root)
  return table


def fingerprint(table: CaptionTable) -> str:
  """SHA-256 (hex) of files, captions, their order and the split, not of the pixels.

  A run that resumes compares it to see that it continues on the same data. The folder
  of the images is left out, so that a data set may move.
  """
  content = (
    table.split,
    table.image_files,
    table.captions,
    table.caption_image.tolist(),
  )
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _folder(path: str | os.PathLike, *, field: str, what: str) -> pathlib.Path:
  given = os.fspath(path)
  if not given:  # which pathlib would take for the current folder
    raise UserError(f'{field}: expected {what}; found none. {_hint(field)}')
  path = pathlib.Path(given).expanduser()
  if path.is_dir():
    return path
  parent = path.parent
  beside = f' {parent} holds: {_listing(parent)}.' if parent.is_dir() else ''
  raise UserError(
    f'{field}: expected {what}; found no folder {path}.{beside} {_hint(field)}'
  )


def _hint(field: str) -> str:
  return f'Pass --config.{field}=FOLDER.'


def _listing(folder: pathlib.Path, *, most: int = 12) -> str:
  with os.scandir(folder) as entries:
    names = sorted(entry.name + '/' * entry.is_dir() for entry in entries)
  more = f', and {len(names) - most} more' if len(names) > most else ''
  return ', '.join(names[:most]) + more or 'nothing'


def _find_annotations(
  root: pathlib.Path, *, split: str, annotations: str
) -> pathlib.Path:
  if annotations == 'auto':
    return _search_annotations(root, split=split)
  path = root / pathlib.Path(annotations.replace('{split}', split)).expanduser()
  if path.is_file():
    return path
  where = path.parent if path.parent.is_dir() else root
  raise UserError(
    f'data.annotations: expected the file of split {split!r}; found no file {path}. '
    f'{where} holds: {_listing(where)}. Pass --config.data.annotations=FILE (relative '
    'to data.root, {split} stands for the split), or auto.'
  )


def _search_annotations(root: pathlib.Path, *, split: str) -> pathlib.Path:
  for kind in WANTED:
    patterns = [name.replace('{split}', glob.escape(split)) for name in kind]
    found = sorted(
      path
      for pattern in patterns
      for path in root.glob(pattern)
      if path.is_file() and not path.name.startswith('.')
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
    f'{wanted}; found: {_listing(root)}. Ask for a split that is there, or pass '
    '--config.data.annotations=FILE.'
  )


def _read_entries(path: pathlib.Path) -> list[_Entry]:
  """The rows of a file as they are written, each a dict."""
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
  entries = [_Entry(f'{path}, {place}', fields) for place, fields in rows]
  if not entries:
    raise UserError(f'{path}: expected rows of an image and a caption; found none.')
  for place, fields in entries:
    if not isinstance(fields, dict):
      raise _unusable(place, fields)
  return entries


def _read_json(text: str, *, path: pathlib.Path) -> Iterable[tuple[str, dict]]:
  content = _parse_json(text, path=path)
  if isinstance(content, dict):
    content = content.get('images')
  if not isinstance(content, list):
    raise UserError(
      f'{path}: expected a JSON list of rows, or an object whose "images" is one; '
      f'found {_short(text)}.'
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
      f'{_short(", ".join(columns))}.'
    )


_READERS = {'.json': _read_json, '.jsonl': _read_jsonl, '.csv': _read_csv}


def _entries_of_split(
  entries: Sequence[_Entry], *, path: pathlib.Path, split: str
) -> Sequence[_Entry]:
  found = collections.Counter()
  for place, fields in entries:
    name = fields.get('split')
    if not name or not isinstance(name, str):
      raise UserError(
        f'{place}: expected the name of a split, as in other rows of this file; found '
        f'{_short(name)}. Fill in the field "split".'
      )
    found[name] += 1
  if split not in found:
    counts = ', '.join(f'{name} ({count} rows)' for name, count in found.items())
    raise UserError(
      f'{path}: expected rows of split {split!r}; found only {counts}. Ask for one of '
      'these, or pass --config.data.annotations=FILE.'
    )
  return [entry for entry in entries if entry.fields['split'] == split]


def _check_file_split(path: pathlib.Path, *, split: str) -> None:
  """Rows without a split belong to the one in the file's name, else to `train`."""
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
    '--config.data.annotations=NAME_{split}.json says where the split stands in a name.'
  )


def _read_row(entry: _Entry) -> _Row:
  place, fields = entry
  image, captions = _karpathy(fields) if 'sentences' in fields else _plain(fields)
  texts = isinstance(captions, list) and [isinstance(text, str) for text in captions]
  if not isinstance(image, str) or not texts or not all(texts):
    raise _unusable(place, fields)
  for caption in captions:
    _check_caption(caption, place=place)
  return _Row(place, _relative_path(image, place=place), captions)


def _plain(fields: dict) -> tuple[object, object]:
  caption = fields.get('caption')
  return fields.get('image'), [caption] if isinstance(caption, str) else caption


def _karpathy(fields: dict) -> tuple[object, object]:
  try:
    return fields['filename'], [sentence['raw'] for sentence in fields['sentences']]
  except (KeyError, TypeError):
    return None, None


def _unusable(place: str, found: object) -> UserError:
  return UserError(
    f'{place}: expected {{"image": FILE, "caption": TEXT}} (or a list of texts), or '
    '{"filename": FILE, "split": NAME, "sentences": [{"raw": TEXT}]}; found '
    f'{_short(found)}. Correct or remove the row.'
  )


def _short(found: object, *, most: int = 120) -> str:
  text = found if isinstance(found, str) else json.dumps(found)
  return text if 0 < len(text) <= most else repr(text[:most]) + '...' * bool(text)


def _check_caption(caption: str, *, place: str) -> None:
  if not caption.strip():
    raise UserError(
      f'{place}: expected a caption; found {caption!r}. Write one or remove the row.'
    )
  try:
    caption.encode()
  except UnicodeEncodeError as error:
    raise UserError(
      f'{place}: expected a caption of Unicode text; found a lone surrogate in '
      f'{caption!r}. Correct the row.'
    ) from error


def _relative_path(image: str, *, place: str) -> str:
  path = pathlib.PurePath(image)
  if path.anchor or '..' in path.parts or not path.parts:
    raise UserError(
      f'{place}: expected an image file below the image folder; found {image!r}. Write '
      'it relative to that folder, which --config.data.images=FOLDER sets.'
    )
  return path.as_posix()


def _make_table(
  rows: Sequence[_Row], *, image_root: pathlib.Path, split: str
) -> CaptionTable:
  number = {}
  for _, image, _ in rows:
    number.setdefault(image, len(number))
  owners = [number[image] for _, image, captions in rows for _ in captions]
  caption_image = np.array(owners, np.int32)
  caption_image.setflags(write=False)
  return CaptionTable(
    image_root=image_root,
    image_files=tuple(number),
    captions=tuple(caption for row in rows for caption in row.captions),
    caption_image=caption_image,
    split=split,
  )


def _check_images(table: CaptionTable) -> None:
  """Lists each folder once: on a network disk a call per image takes minutes."""
  present = {}
  missing = []
  for name in table.image_files:
    folder, _, file = name.rpartition('/')
    if folder not in present:
      present[folder] = _files_in(table.image_root / folder)
    if file not in present[folder]:
      missing.append(name)
  if missing:
    raise UserError(
      f'data.images: expected the {table.n_images} images of split {table.split!r} in '
      f'{table.image_root}; {len(missing)} cannot be found, the first is {missing[0]}. '
      f'The folder holds: {_listing(table.image_root)}. Complete it, or pass '
      '--config.data.images=FOLDER.'
    )


def _files_in(folder: pathlib.Path) -> set[str]:
  try:
    with os.scandir(folder) as entries:
      return {entry.name for entry in entries if entry.is_file()}
  except (OSError, ValueError):  # ValueError: a name that no file can have
    return set()


def _check_links(rows: Sequence[_Row], *, image_root: pathlib.Path) -> None:
  """Symbolic links, of files or folders, must not lead out of the image folder."""
  inside = image_root.resolve()
  outside = {}
  for place, image, _ in rows:
    folder, _, file = image.rpartition('/')
    if folder not in outside:
      outside[folder] = _files_outside(image_root / folder, inside=inside)
    if file in outside[folder]:
      raise UserError(
        f'{place}: expected an image file below the image folder; found {image!r}, a '
        f'link to {outside[folder][file]}. Copy the file there, or set the folder that '
        'holds the files themselves with --config.data.images=FOLDER.'
      )


def _files_outside(
  folder: pathlib.Path, *, inside: pathlib.Path
) -> dict[str, pathlib.Path]:
  """Where the files of a folder really are that are not below `inside`."""
  folder_outside = not folder.resolve().is_relative_to(inside)
  with os.scandir(folder) as entries:
    # Only links are resolved: on a network disk a call per image takes minutes.
    names = [entry.name for entry in entries if folder_outside or entry.is_symlink()]
  targets = {name: (folder / name).resolve() for name in names}
  return {
    name: target
    for name, target in targets.items()
    if not target.is_relative_to(inside)
  }
