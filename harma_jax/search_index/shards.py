"""Rows of an index on the disk: features that are mapped, boxes and places.

  shards/0000000001-1f0c....safetensors ...

A shard is written in one move and never changed. Features are f32, or 16-bit whole
numbers with a factor for each row: `features = values * scale`. Those halve the bytes,
and unlike floating point of 16 bits they are equally fine near zero and far from it,
which is what products sum up.
"""

import contextlib
import json
import mmap
import pathlib
import re
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from harma_jax.errors import UserError
from harma_jax.search_index.storage import replacing

FOLDER = 'shards'
STORAGES = ('float32', 'int16')
_DTYPES = {
  name: np.dtype(code)
  for name, code in {'F32': '<f4', 'I16': '<i2', 'I32': '<i4', 'F64': '<f8'}.items()
}


class Features(NamedTuple):
  """Unit rows as they are stored.

  Attributes:
    values: f32[n, D], or i16[n, D]; on the disk where it is mapped.
    scale: f32[n], a factor for each row of i16; None for f32.
  """

  values: np.ndarray
  scale: np.ndarray | None = None

  def at(self, rows: slice | np.ndarray) -> np.ndarray:
    """f32[k, D] of some rows."""
    if self.scale is None:
      return np.asarray(self.values[rows])
    return self.values[rows] * self.scale[rows, None]


class Shard(NamedTuple):
  """Rows of some files, one file after the other.

  Attributes:
    features: n unit rows.
    boxes: i32[n, 4]: left, top, width, height in pixels.
    corners: f64[n, 4, 2], longitude and latitude (WGS84), NaN where not known; or None
      where none of the rows has any.
  """

  features: Features
  boxes: np.ndarray
  corners: np.ndarray | None


def store(features: np.ndarray, *, storage: str) -> Features:
  """Unit rows f32[n, D] as `storage`, one of `STORAGES`, has them."""
  if storage == 'float32':
    return Features(features)
  largest = np.abs(features).max(axis=1, initial=0)
  scale = np.maximum(largest, np.finfo(np.float32).tiny).astype(np.float32) / 32767
  values = np.rint(features / scale[:, None]).astype(np.int16)
  return Features(values, scale)


def write_shard(folder: pathlib.Path, shard: Shard) -> str:
  """Writes a shard of the index in `folder` in one move; returns its name."""
  tensors = {'features': shard.features.values, 'boxes': shard.boxes}
  if shard.features.scale is not None:
    tensors['scale'] = shard.features.scale
  if shard.corners is not None:
    tensors['corners'] = shard.corners
  (folder / FOLDER).mkdir(exist_ok=True)
  numbers = [int(name.split('-')[0]) for name in shard_names(folder)]
  name = f'{max(numbers, default=0) + 1:010}-{uuid.uuid4().hex[:12]}'
  with replacing(shard_path(folder, name)) as new:
    safetensors.numpy.save_file(tensors, new)
    new.chmod(0o644)  # the library lets only its writer read it
  return name


def shard_names(folder: pathlib.Path) -> list[str]:
  """Of the shards that are there, in the order in which they were written."""
  if not (folder / FOLDER).is_dir():
    return []
  stems = (path.stem for path in (folder / FOLDER).glob('[!.]*.safetensors'))
  return sorted(stem for stem in stems if re.fullmatch(r'\d{10}-\w+', stem))


def shard_path(folder: pathlib.Path, name: str) -> pathlib.Path:
  """Where a shard lies."""
  return folder / FOLDER / f'{name}.safetensors'


def open_shard(folder: pathlib.Path, name: str) -> Shard:
  """A shard, its features mapped: read when they are asked for.

  Raises:
    UserError: it cannot be read.
    FileNotFoundError: it is not there.
  """
  path = shard_path(folder, name)
  with _readable(path):
    tensors = _mapped(path)
    features = Features(tensors['features'], tensors.get('scale'))
    return Shard(features, np.array(tensors['boxes']), tensors.get('corners'))


def _mapped(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The tensors of a file of safetensors; `features` is mapped, the others copied."""
  with path.open('rb') as file:
    length = int.from_bytes(file.read(8), 'little')
    if length > path.stat().st_size:
      raise ValueError('its header is longer than the file')
    header = json.loads(file.read(length))
    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
  tensors = {}
  for name, about in header.items():
    if name == '__metadata__':
      continue
    dtype = _DTYPES[about['dtype']]
    start, stop = (8 + length + offset for offset in about['data_offsets'])
    count = (stop - start) // dtype.itemsize
    values = np.frombuffer(memory, dtype, count, start).reshape(about['shape'])
    tensors[name] = values if name == 'features' else values.copy()
  return tensors


@contextlib.contextmanager
def _readable(path: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except FileNotFoundError:
    raise
  except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
    raise UserError(
      f'--index: expected a readable shard; found {path}: {error}. Remove the file; '
      'the command that made the index makes its rows again.'
    ) from error
