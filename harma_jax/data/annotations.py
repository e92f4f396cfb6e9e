"""One table of captions and images, made from the annotations of a split.

The forms of annotations that are read stand in `annotation_files.py`.
"""

import array
import collections
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from harma_jax.data.annotation_files import (
  entries_of_split,
  find_annotations,
  listing,
  read_entries,
  require_folder,
)
from harma_jax.data.entries import PathOf, Row, make_path_of, parse_row
from harma_jax.data.images import ImageFile
from harma_jax.data.presence import Presence, find_alike, look_for
from harma_jax.data.reading import AS_WRITTEN, Reading, say_once
from harma_jax.data.strings import Packer, json_parts, pack
from harma_jax.errors import UserError


class ImageFolder(Protocol):
  """A `pathlib.Path`, or what gives images by their names as one does."""

  def __truediv__(self, name: str) -> ImageFile: ...


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CaptionTable:
  """The captions of one split, and the image each belongs to.

  Attributes:
    image_root: folder of the images, or what is read like one.
    image_files: one per distinct image, relative to `image_root` with `/`, in order of
      first appearance.
    captions: as annotated, in the order of the file.
    caption_image: i32[n_captions], the row of `image_files`; read-only.
    split: name of the split.
  """

  image_root: ImageFolder
  image_files: Sequence[str]
  captions: Sequence[str]
  caption_image: np.ndarray
  split: str

  @property
  def n_images(self) -> int:
    return len(self.image_files)

  @property
  def n_captions(self) -> int:
    return len(self.captions)

  def image_path(self, row: int) -> ImageFile:
    """The file of image `row`, which `read_image` reads."""
    return self.image_root / self.image_files[row]


def load_captions(
  root: str | os.PathLike,
  *,
  split: str,
  annotations: str = 'auto',
  images: str = 'images',
  reading: Reading = AS_WRITTEN,
  missing_ok: bool = False,
) -> CaptionTable:
  """Reads the captions of one split and checks that every image is there.

  The texts of the table are `Strings`, which hold millions in little memory.

  Args:
    root: folder of the data set.
    split: `train`, `val`, `test`, or what the annotations call it.
    annotations: `auto` to find the file in `root` (see `annotation_files.WANTED`), or a
      file, absolute or relative to `root`; the word `{split}` in it stands for `split`.
    images: folder of the images, absolute or relative to `root`.
    reading: what the user says of columns and names.
    missing_ok: whether images that are not there stay in the table.

  Raises:
    UserError: a folder, file, split, field or image that is missing, a row that cannot
      be used, or an image that lies outside of the image folder, be it by its path or
      by a symbolic link; the message names it.
  """
  root = require_folder(root, field='data.root', what='the folder of the data set')
  path = find_annotations(root, split=split, annotations=annotations)
  image_root = root / pathlib.Path(images).expanduser()
  path_of = make_path_of(reading=reading, root=image_root)

  def read_rows() -> Iterable[Row]:
    entries = entries_of_split(
      read_entries(path, reading=reading),
      path=path,
      split=split,
      restval=reading.restval,
      by_name='{split}' not in annotations,
    )
    return (_read_row(entry, path_of=path_of) for entry in entries)

  def place_of(image: str) -> str:
    """Where an image is first named; only for a message is the file read again."""
    return next(row.place for row in read_rows() if row.image == image)

  table, numbers = _make_table(read_rows(), image_root=image_root, split=split)
  require_folder(image_root, field='data.images', what='the image folder')
  found = look_for(numbers, root=image_root)
  if found.outside:
    raise _outside(table, found, place_of=place_of)
  if found.missing and reading.match == 'name':
    table, found = _matched(table, found)
  if found.missing and not missing_ok:
    raise _missing(table, found, place_of=place_of)
  return table


def select_images(table: CaptionTable, kept: np.ndarray) -> CaptionTable:
  """The table of some images and all their captions; the order stays.

  Its rows are numbered anew: pixels and tokens of `table` do not fit it.

  Args:
    table: is not changed.
    kept: bool[n_images].
  """
  kept_captions = kept[table.caption_image]
  number = np.cumsum(kept, dtype=np.int32) - 1
  caption_image = number[table.caption_image[kept_captions]]
  caption_image.setflags(write=False)
  return dataclasses.replace(
    table,
    image_files=pack(itertools.compress(table.image_files, kept)),
    captions=pack(itertools.compress(table.captions, kept_captions)),
    caption_image=caption_image,
  )


def fingerprint(table: CaptionTable) -> str:
  """SHA-256 (hex) of files, captions, their order and the split, not of the pixels.

  A run that resumes compares it to see that it continues on the same data. The folder
  of the images is left out, so that a data set may move.
  """
  digest = hashlib.sha256(f'[{json.dumps(table.split)}'.encode())
  for values in (table.image_files, table.captions, table.caption_image.tolist()):
    digest.update(b', ')
    for part in json_parts(values):
      digest.update(part.encode())
  digest.update(b']')
  return digest.hexdigest()


def _read_row(entry, *, path_of: PathOf) -> Row:
  row = parse_row(entry, path_of=path_of)
  for caption in row.captions:
    _check_caption(caption, place=row.place)
  return row


def _check_caption(caption: str, *, place: str) -> None:
  if not caption or caption.isspace():
    raise UserError(
      f'{place}: expected a caption; found {caption!r}. Write one or remove the row.'
    )
  if caption.isascii():  # as most are, and Python knows it of each text
    return
  try:
    caption.encode()
  except UnicodeEncodeError as error:
    raise UserError(
      f'{place}: expected a caption of Unicode text; found a lone surrogate in '
      f'{caption!r}. Correct the row.'
    ) from error


def _make_table(
  rows: Iterable[Row], *, image_root: pathlib.Path, split: str
) -> tuple[CaptionTable, dict[str, int]]:
  """The table, and the row of each image by its name."""
  number = {}
  captions, owners = Packer(), array.array('i')
  for _, image, texts in rows:
    owner = number.setdefault(image, len(number))
    for text in texts:
      captions.append(text)
      owners.append(owner)
  table = CaptionTable(
    image_root=image_root,
    image_files=pack(number),
    captions=captions.strings(),
    caption_image=_read_only(np.array(owners, np.int32)),
    split=split,
  )
  return table, number


def _read_only(rows: np.ndarray) -> np.ndarray:
  rows.setflags(write=False)
  return rows


def _matched(table: CaptionTable, found: Presence) -> tuple[CaptionTable, Presence]:
  """The table with the names that the files have, where they only differ so far."""
  names = [table.image_files[row] for row in found.missing]
  alike = find_alike(names, root=table.image_root)
  kinds = collections.Counter(each.kind for each in alike.values())
  if alike:
    say_once(
      f'data.match=name: {len(alike)} images of split {table.split!r} are taken from '
      f'files that differ in {_said(kinds)}'
    )
  number, owners = {}, np.empty(table.n_images, np.int32)
  for row, name in enumerate(table.image_files):
    file = alike[name].file if name in alike else name
    owners[row] = number.setdefault(file, len(number))
  missing = [row for row in found.missing if table.image_files[row] not in alike]
  caption_image = _read_only(owners[table.caption_image])
  table = dataclasses.replace(
    table, image_files=pack(number), caption_image=caption_image
  )
  return table, Presence(owners[missing].tolist(), {})


def _said(kinds: collections.Counter) -> str:
  return ', '.join(f'{kind} ({count})' for kind, count in kinds.most_common())


def _missing(table: CaptionTable, found: Presence, *, place_of) -> UserError:
  names = [table.image_files[row] for row in found.missing]
  alike = find_alike(names, root=table.image_root)
  kinds = collections.Counter(each.kind for each in alike.values())
  name, file = next(((name, each.file) for name, each in alike.items()), ('', ''))
  hint = (
    f'Of them {len(alike)} are there under a name that differs in {_said(kinds)}, as '
    f'{file} for {name}: --config.data.match=name takes them. '
    if alike
    else ''
  )
  return UserError(
    f'data.images: expected the {table.n_images} images of split {table.split!r} in '
    f'{table.image_root}; {len(names)} cannot be found, the first is {names[0]} '
    f'({place_of(names[0])}). The folder holds: {listing(table.image_root)}. '
    f'{hint}Complete it, or pass --config.data.images=FOLDER, or '
    '--config.data.on_bad_image=skip to train without them.'
  )


def _outside(table: CaptionTable, found: Presence, *, place_of) -> UserError:
  row = min(found.outside)
  name = table.image_files[row]
  return UserError(
    f'{place_of(name)}: expected an image file below the image folder; found {name!r}, '
    f'a link to {found.outside[row]}. Copy the file there, or set the folder that '
    'holds the files themselves with --config.data.images=FOLDER.'
  )
