"""What the headers of a table's images say; a prepared folder keeps it once read."""

import concurrent.futures
import functools
import hashlib
import os
import pathlib
import uuid
from collections.abc import Sequence

import numpy as np
from absl import logging

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.images import read_header
from harma_jax.data.prepared import MANIFEST_FILE, PreparedImages

FIELDS = ('width', 'height', 'bits')


def read_headers(
  table: CaptionTable, *, max_pixels: int, threads: int = 1
) -> np.ndarray:
  """i32[n, 3]: `FIELDS` of all images, as `read_header` gives them.

  Of a prepared folder those that nobody has read before are read, and kept in it for
  the next time, where it can be written.

  Raises:
    UserError: a file is no image, or too large.
  """
  images = table.image_root
  if not isinstance(images, PreparedImages):
    rows = range(table.n_images)
    return _read(table, rows, max_pixels=max_pixels, threads=threads)
  path = kept_file(images)
  kept = _kept(path, count=len(images.records))
  records = np.array([images.rows[file] for file in table.image_files], np.intp)
  pixels = np.prod(kept[records, :2], axis=1, dtype=np.int64)
  # Those that are too large are read again for the message.
  new = np.flatnonzero((pixels == 0) | (pixels > max_pixels))
  if new.size:
    kept[records[new]] = _read(table, new, max_pixels=max_pixels, threads=threads)
    _keep(path, kept)
  return kept[records]


def kept_file(images: PreparedImages) -> pathlib.Path:
  """Where the headers of a split are kept; another manifest has another file."""
  manifest = hashlib.sha256((images.root / MANIFEST_FILE).read_bytes()).hexdigest()
  return images.root / f'headers-{images.split}-{manifest[:16]}.npy'


def _read(
  table: CaptionTable, rows: Sequence[int], *, max_pixels: int, threads: int
) -> np.ndarray:
  header_of = functools.partial(read_header, max_pixels=max_pixels)
  with concurrent.futures.ThreadPoolExecutor(max(threads, 1)) as pool:
    headers = pool.map(header_of, map(table.image_path, rows))
    found = [(*header.size, header.bits) for header in headers]
  return np.array(found, np.int32).reshape(-1, len(FIELDS))


def _kept(path: pathlib.Path, *, count: int) -> np.ndarray:
  """Of all records of a split; 0 where it is not known."""
  nothing = np.zeros((count, len(FIELDS)), np.int32)
  try:
    kept = np.load(path)
  except (OSError, ValueError, EOFError):  # none, or one that breaks off
    return nothing
  whole = kept.shape == nothing.shape and kept.dtype == nothing.dtype
  return kept if whole else nothing


def _keep(path: pathlib.Path, kept: np.ndarray) -> None:
  """Writes them for the next time, whole or not at all."""
  new = path.with_name(f'{path.name}.{uuid.uuid4().hex}')  # of this process alone
  try:
    with new.open('wb') as file:
      np.save(file, kept)
    os.replace(new, path)
  except OSError as error:
    logging.info('What the headers say is read each time anew: %s', error)
