"""One table of captions and images, made from the annotations of a split.

The forms of annotations that are read stand in `annotation_files.py`.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from harma_jax.data.annotation_files import (
  Entry,
  Row,
  check_file_split,
  entries_of_split,
  find_annotations,
  listing,
  parse_row,
  read_entries,
  require_folder,
)
from harma_jax.data.images import ImageFile
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

  def image_path(self, row: int) -> ImageFile:
    """The file of image `row`, which `read_image` reads."""
    return self.image_root / self.image_files[row]


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
    annotations: `auto` to find the file in `root` (see `annotation_files.WANTED`), or a
      file, absolute or relative to `root`; the word `{split}` in it stands for `split`.
    images: folder of the images, absolute or relative to `root`.

  Raises:
    UserError: a folder, file, split, field or image that is missing, a row that cannot
      be used, or an image that lies outside of the image folder, be it by its path or
      by a symbolic link; the message names it.
  """
  root = require_folder(root, field='data.root', what='the folder of the data set')
  path = find_annotations(root, split=split, annotations=annotations)
  entries = read_entries(path)
  if any('split' in entry.fields for entry in entries):
    entries = entries_of_split(entries, path=path, split=split)
  elif '{split}' not in annotations:
    check_file_split(path, split=split)
  image_root = root / pathlib.Path(images).expanduser()
  image_root = require_folder(image_root, field='data.images', what='the image folder')
  rows = [_read_row(entry) for entry in entries]
  table = _make_table(rows, image_root=image_root, split=split)
  _check_images(table)
  _check_links(rows, image_root=image_root)
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
    image_files=tuple(table.image_files[row] for row in np.flatnonzero(kept)),
    captions=tuple(table.captions[row] for row in np.flatnonzero(kept_captions)),
    caption_image=caption_image,
  )


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


def _read_row(entry: Entry) -> Row:
  row = parse_row(entry)
  for caption in row.captions:
    _check_caption(caption, place=row.place)
  return row


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


def _make_table(
  rows: Sequence[Row], *, image_root: pathlib.Path, split: str
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
      f'The folder holds: {listing(table.image_root)}. Complete it, or pass '
      '--config.data.images=FOLDER.'
    )


def _files_in(folder: pathlib.Path) -> set[str]:
  try:
    with os.scandir(folder) as entries:
      return {entry.name for entry in entries if entry.is_file()}
  except (OSError, ValueError):  # ValueError: a name that no file can have
    return set()


def _check_links(rows: Sequence[Row], *, image_root: pathlib.Path) -> None:
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
