"""The forms of JSON that captioned images are published in, told by their content.

- a list of rows: HarMA's and PIR's pair, `{image, caption}`, GAIA's, MGRS-200k's and
  one's own, with columns as `columns.py` knows them;
- Karpathy's: `{images: [{filename, split, sentences: [{raw}]}]}` (RSICD, RSITMD,
  UCM, Sydney), with a folder in front of the name where there is a `filepath`;
- COCO's captions: `{images: [{id, file_name}], annotations: [{image_id, caption}]}`;
- NWPU-Captions': `{CLASS: [{filename, split, raw, raw_1, ... raw_4}]}`.
"""

import functools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harma_jax.data.columns import Columns, choose_columns, texts_of
from harma_jax.data.entries import Entry, shorten, unusable_row
from harma_jax.data.reading import say_once
from harma_jax.errors import UserError


def entries_of(content: object, *, path: pathlib.Path, asked: str) -> Iterator[Entry]:
  """The rows of a JSON file of any of these forms.

  Args:
    content: of the file.
    path: of the file, for messages.
    asked: what the user says of columns, see `columns.py`.

  Raises:
    UserError: it has none of the forms; a row of it is no object.
  """
  if isinstance(content, list):
    yield from _numbered(content, path=path, asked=asked)
  elif isinstance(content, dict) and _has_rows(content, 'images'):
    if isinstance(content.get('annotations'), list):
      yield from _coco(content, path=path)
    else:
      yield from _numbered(content['images'], path=path, asked=asked)
  elif isinstance(content, dict) and _is_of_classes(content):
    for name, rows in content.items():
      yield from _numbered(rows, path=path, asked=asked, within=f', {name}')
  else:
    raise _unknown_form(content, path=path)


def entry_of(fields: object, *, place: str, asked: str) -> Entry:
  """One row of a list, or a line of JSON lines.

  Raises:
    UserError: it is no object.
  """
  if not isinstance(fields, dict):
    raise unusable_row(place, fields)
  if _is_karpathy(fields) and not asked:
    image, captions = _karpathy(fields)
    return Entry(place, image, captions, fields.get('split'), fields)
  try:
    columns = _columns_of(tuple(fields), asked)
  except UserError as error:  # another row may be better
    return Entry(place, None, None, fields.get('split'), fields, str(error))
  split = fields.get(columns.split) if columns.split else None
  captions = captions_of([fields.get(name) for name in columns.captions])
  return Entry(place, fields.get(columns.image), captions, split, fields)


def captions_of(cells: Sequence[object]) -> list | None:
  """The texts of all columns of captions; of several, empty cells are left out."""
  if len(cells) == 1:
    return texts_of(cells[0])
  filled = [cell for cell in cells if cell is not None and cell != '']
  return [text for cell in filled for text in texts_of(cell)]


def say_columns(columns: Columns, *, path: pathlib.Path) -> None:
  """Tells which columns of a file were taken for what, where that is a choice."""
  if (columns.image, columns.captions, columns.left) != ('image', ('caption',), ()):
    say_once(f'{path.name}: {columns}')


def say_fields(entry: Entry, *, path: pathlib.Path, asked: str) -> None:
  """`say_columns` of a row of JSON."""
  if not entry.problem and (asked or not _is_karpathy(entry.found)):
    say_columns(_columns_of(tuple(entry.found), asked), path=path)


def _numbered(
  rows: Sequence, *, path: pathlib.Path, asked: str, within: str = ''
) -> Iterator[Entry]:
  for row, fields in enumerate(rows, start=1):
    entry = entry_of(fields, place=f'{path}{within}, row {row}', asked=asked)
    if row == 1:
      say_fields(entry, path=path, asked=asked)
    yield entry


# Rows of a file have few different sets of fields, most often one.
@functools.lru_cache(maxsize=256)
def _columns_of(names: tuple[str, ...], asked: str) -> Columns:
  return choose_columns(names, asked=asked)


def _is_karpathy(fields: Mapping) -> bool:
  return 'sentences' in fields and 'filename' in fields


def _karpathy(fields: Mapping) -> tuple[object, object]:
  image, folder = fields['filename'], fields.get('filepath')
  if isinstance(image, str) and isinstance(folder, str) and folder:
    image = f'{folder}/{image}'  # as in COCO's and Flickr's
  sentences = fields['sentences']
  return image, texts_of(sentences) if isinstance(sentences, list) else None


def _has_rows(content: Mapping, name: str) -> bool:
  return isinstance(content.get(name), list)


def _is_of_classes(content: Mapping) -> bool:
  """Whether all that an object has are lists of rows."""
  return (
    bool(content)
    and all(
      isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
      for rows in content.values()
    )
    and any(content.values())
  )


def _coco(content: Mapping, *, path: pathlib.Path) -> Iterator[Entry]:
  images = _by_id(content['images'], path=path)
  for row, fields in enumerate(content['annotations'], start=1):
    place = f'{path}, annotation {row}'
    if not isinstance(fields, dict):
      raise unusable_row(place, fields)
    if 'caption' not in fields:
      raise UserError(
        f'{place}: expected a caption, as in captions_*.json of COCO; found '
        f'{shorten(sorted(fields))}. Name the file with the captions: '
        '--config.data.annotations=FILE'
      )
    image = images.get(_key(fields.get('image_id')))
    if image is None:
      raise UserError(
        f'{place}: expected the id of one of the {len(images)} images; found '
        f'{shorten(fields.get("image_id"))}. Correct or remove the row.'
      )
    captions = texts_of(fields['caption'])
    yield Entry(place, image.get('file_name'), captions, image.get('split'), fields)


def _by_id(images: Iterable, *, path: pathlib.Path) -> dict[str, dict]:
  found = {}
  for row, image in enumerate(images, start=1):
    if not isinstance(image, dict) or 'id' not in image or 'file_name' not in image:
      raise UserError(
        f'{path}, image {row}: expected {{"id": NUMBER, "file_name": FILE}}, as COCO '
        f'has them; found {shorten(image)}. Correct or remove it.'
      )
    found[_key(image['id'])] = image
  return found


def _key(number: object) -> str:
  """An id as it is compared: some files have numbers here and texts there."""
  return str(number)


def _unknown_form(content: object, *, path: pathlib.Path) -> UserError:
  """Says which form comes nearest, and what is missing."""
  lists = 'expected a JSON list of rows, or an object whose "images" is one'
  if not isinstance(content, dict):
    nearest = 'Write a list of {"image": FILE, "caption": TEXT}'
  elif 'images' in content:
    nearest = 'It is nearest to Karpathy\'s form, but its "images" is no list'
  elif 'annotations' in content:
    nearest = (
      'It is nearest to COCO\'s captions, but has no "images" with the files\' names'
    )
  elif any(isinstance(rows, list) for rows in content.values()):
    odd = next(name for name, rows in content.items() if not _are_rows(rows))
    nearest = (
      'It is nearest to the form of NWPU-Captions, an object of classes, but its '
      f'{shorten(odd)} is no list of rows'
    )
  else:
    nearest = 'It is nearest to Karpathy\'s form, but has no "images"'
  return UserError(f'{path}: {lists}; found {shorten(content)}. {nearest}.')


def _are_rows(rows: object) -> bool:
  return isinstance(rows, list) and all(isinstance(row, dict) for row in rows) and rows
