"""Reads the folders that `python -m harma_jax.data prepare` writes.

Importing tensorflow_datasets does not import TensorFlow, and neither does reading.
"""

import io
import json
import os
import pathlib
from collections.abc import Iterable

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.images import decode_image
from harma_jax.errors import UserError

MANIFEST_FILE = 'manifest.json'


class PreparedSplit:
  """One split of a prepared folder; any number of threads may read from it.

  Attributes:
    table: as `load_captions` gives it for the source, except that `image_root` is the
      prepared folder: the images are not files there, see `read_image_bytes`.
  """

  def __init__(self, source, *, root: pathlib.Path, split: str):
    self._source = source
    self.table = _table(source, root=root, split=split)

  def read_image_bytes(self, row: int) -> bytes:
    """The JPEG or PNG of image `row` of the table."""
    return self._source[row]['image']

  def read_image(self, row: int) -> Image.Image:
    """Image `row` of the table, decoded as `images.read_image` does."""
    name = self.table.image_files[row]
    return decode_image(io.BytesIO(self.read_image_bytes(row)), name=name)


def read_prepared(root: str | os.PathLike, *, split: str) -> PreparedSplit:
  """Opens one split and reads its captions; checksums are verified by `prepare` only.

  Raises:
    UserError: `root` is no finished prepared folder, or does not have the split.
  """
  root = pathlib.Path(root).expanduser()
  splits = read_manifest(root)['splits']
  if split not in splits:
    raise UserError(
      f'{root}: expected split {split!r}; found only {", ".join(splits)}. Ask for one '
      'of these, or prepare the folder anew from a source that has it.'
    )
  builder = tfds.builder_from_directory(os.fspath(root))
  decoders = {'image': tfds.decode.SkipDecoding()}
  source = builder.as_data_source(split, decoders=decoders)
  return PreparedSplit(source, root=root, split=split)


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


def _table(records: Iterable[dict], *, root: pathlib.Path, split: str) -> CaptionTable:
  """Puts the captions, which lie with their images, back into their first order."""
  files, captions = [], []
  for image, record in enumerate(records):
    files.append(record['image_file'].decode())
    for row, caption in zip(record['caption_rows'], record['captions'], strict=True):
      captions.append((int(row), image, caption.decode()))
  captions.sort()
  caption_image = np.array([image for _, image, _ in captions], np.int32)
  caption_image.setflags(write=False)
  return CaptionTable(
    image_root=root,
    image_files=tuple(files),
    captions=tuple(caption for _, _, caption in captions),
    caption_image=caption_image,
    split=split,
  )
