"""Reads the folders that `python -m harma_jax.data prepare` writes.

Importing tensorflow_datasets does not import TensorFlow, and neither does reading.
"""

import array
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.strings import Packer
from harma_jax.errors import UserError

MANIFEST_FILE = 'manifest.json'
INCOMPLETE = 'incomplete'  # a folder beside which there is no manifest yet
TFDS_FILE = 'dataset_info.json'


@dataclasses.dataclass(frozen=True)
class PreparedImages:
  """The images of a prepared split by name, for any number of threads and processes.

  Attributes:
    root: the prepared folder.
    split: of it.
    records: of the split, one an image, as they are stored.
    rows: the row of each image among the records.
  """

  root: pathlib.Path
  split: str
  records: Sequence[bytes]
  rows: Mapping[str, int]

  def __truediv__(self, name: str) -> 'PreparedImage':
    return PreparedImage(self, name)

  def __str__(self) -> str:
    return str(self.root)


@dataclasses.dataclass(frozen=True)
class PreparedImage:
  """The JPEG or PNG of one image, read like a file of the prepared folder."""

  folder: PreparedImages
  name: str

  def read_bytes(self) -> bytes:
    record = self.folder.records[self.folder.rows[self.name]]
    return features_of(record)['image'].bytes_list.value[0]

  def open(self, mode: str = 'rb') -> BinaryIO:
    del mode  # there is only one
    return io.BytesIO(self.read_bytes())

  def __str__(self) -> str:
    return f'{self.folder}/{self.name}'


def is_prepared(root: str | os.PathLike) -> bool:
  """Whether `prepare` has written a folder, or has begun to."""
  root = pathlib.Path(root).expanduser()
  return (root / TFDS_FILE).is_file() or (root / INCOMPLETE).is_dir()


def read_prepared(root: str | os.PathLike, *, split: str) -> CaptionTable:
  """The table of one split, as `load_captions` gives it for the source.

  Its images are read from the prepared folder. Checksums are verified by `prepare`
  only.

  Raises:
    UserError: `root` is no finished prepared folder, or does not have the split.
  """
  import tensorflow_datasets as tfds  # a quarter of a second, for these folders only

  root = pathlib.Path(root).expanduser()
  splits = read_manifest(root)['splits']
  if split not in splits:
    raise UserError(
      f'{root}: expected split {split!r}; found only {", ".join(splits)}. Ask for one '
      'of these, or prepare the folder anew from a source that has it.'
    )
  builder = tfds.builder_from_directory(os.fspath(root))
  # Not decoded by TFDS, which takes thrice as long for one.
  records = builder.as_data_source(split).data_source
  if not (root / captions_file(split)).is_file():
    return _table(records, root=root, split=split)
  table = read_captions(root, split=split)
  if table.n_images != len(records):
    raise UserError(
      f'{root}: expected as many pictures of split {split!r} as {captions_file(split)} '
      f'names, {table.n_images:,}; found {len(records):,}. Remove the folder and '
      'prepare it again.'
    )
  rows = {file: row for row, file in enumerate(table.image_files)}
  images = PreparedImages(root, split, records, rows)
  return dataclasses.replace(table, image_root=images)


def captions_file(split: str) -> str:
  """The file of a prepared folder that has the captions of a split beside its records.

  Of each picture, in their order, a line of JSON: its name and its captions.
  """
  return f'captions-{split}.jsonl'


def caption_line(image_file: str, captions: Sequence[str]) -> str:
  """The line of a picture in `captions_file`."""
  return json.dumps([image_file, *captions]) + '\n'


def read_captions(root: pathlib.Path, *, split: str) -> CaptionTable:
  """The table of a split that has `captions_file`, without looking at its pictures."""
  files, captions, owners = Packer(), Packer(), array.array('i')
  with (root / captions_file(split)).open() as lines:
    for row, line in enumerate(lines):
      file, *texts = json.loads(line)
      files.append(file)
      for text in texts:
        captions.append(text)
        owners.append(row)
  caption_image = np.array(owners, np.int32)
  caption_image.setflags(write=False)
  return CaptionTable(
    image_root=root,
    image_files=files.strings(),
    captions=captions.strings(),
    caption_image=caption_image,
    split=split,
  )


def read_manifest(root: pathlib.Path) -> dict:
  """What the manifest of a finished folder says; see `builders.prepare`.

  Raises:
    UserError: there is none, or it is not one.
  """
  path = root / MANIFEST_FILE
  hint = 'Write the folder with: python -m harma_jax.data prepare'
  if not path.is_file():
    raise UserError(f'{root}: expected a prepared folder with {path.name}. {hint}.')
  try:
    manifest = json.loads(path.read_text())
    manifest['splits'].items()
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(
      f'{path}: expected the manifest of a prepared folder; {error}. {hint}.'
    ) from error
  return manifest


def features_of(record: bytes) -> Mapping:
  """The features of a stored example, see `builders.captions.Captions`."""
  from tensorflow_datasets.proto import tf_example_generated_pb2 as protos

  return protos.Example.FromString(record).features.feature


def _table(records: Sequence[bytes], *, root: pathlib.Path, split: str) -> CaptionTable:
  """Puts the captions, which lie with their images, back into their first order."""
  files, captions = [], []
  for image, record in enumerate(records):
    features = features_of(record)
    files.append(features['image_file'].bytes_list.value[0].decode())
    rows = features['caption_rows'].int64_list.value
    texts = features['captions'].bytes_list.value
    for row, caption in zip(rows, texts, strict=True):
      captions.append((row, image, caption.decode()))
  captions.sort()
  caption_image = np.array([image for _, image, _ in captions], np.int32)
  caption_image.setflags(write=False)
  rows = {file: row for row, file in enumerate(files)}
  return CaptionTable(
    image_root=PreparedImages(root, split, records, rows),
    image_files=tuple(files),
    captions=tuple(caption for _, _, caption in captions),
    caption_image=caption_image,
    split=split,
  )
