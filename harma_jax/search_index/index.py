"""An index: the rows of all files that are in it, as they are when it is opened.

manifest.json      of which model, how files are read and cut: `manifest`
catalogue/         which files, and where their rows lie: `catalogue`
shards/            features, boxes and places of rows: `shards`
graph-*.usearch    for approximate search, where it was asked for: `graph`
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from harma_jax.data.local_paths import check_local
from harma_jax.errors import UserError
from harma_jax.search_index.catalogue import TRIES, Catalogue, File, read_catalogue
from harma_jax.search_index.manifest import images_of, read_manifest
from harma_jax.search_index.shards import Features, Shard, open_shard, shard_path


class Part(NamedTuple):
  """The rows of an index that one shard holds.

  Attributes:
    features: all rows of the shard.
    rows: i64[n], those that count, rising; None for all.
  """

  features: Features
  rows: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.features.values) if self.rows is None else len(self.rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Index:
  """An index as it was when it was opened; a row is an image, or a tile of one.

  Attributes:
    folder: where it lies.
    manifest: see `make_manifest`.
    names: of all files, relative to the folder of images, sorted.
    file: i32[n], to which of `names` a row belongs.
    boxes: i32[n, 4], see `Shard`.
    corners: f64[n, 4, 2], see `Shard`; NaN where not known.
    parts: the features of the rows, in their order.
    files: what is known of each of `names`; empty where it was not made of files.
    missing: how many images of the folder have not been read yet.
  """

  folder: pathlib.Path
  manifest: Mapping
  names: Sequence[str]
  file: np.ndarray
  boxes: np.ndarray
  corners: np.ndarray
  parts: Sequence[Part]
  files: Mapping[str, File] = dataclasses.field(default_factory=dict)
  missing: int = 0

  def __len__(self) -> int:
    return len(self.file)

  @property
  def skipped(self) -> dict[str, str]:
    """Name -> what is wrong with the file."""
    return {name: file.error for name, file in self.files.items() if file.error}

  @property
  def tiled(self) -> bool:
    """Whether a row may be less than an image."""
    return any(self.manifest['tile'])

  @property
  def width(self) -> int:
    """Of a feature."""
    return self.parts[0].features.values.shape[1]

  def features_at(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """f32[k, D], the unit features of some rows."""
    rows = np.asarray(rows, np.int64)
    found = np.zeros((len(rows), self.width), np.float32)
    starts = np.cumsum([0, *map(len, self.parts)])
    for part, start, stop in zip(self.parts, starts, starts[1:], strict=False):
      here = (rows >= start) & (rows < stop)
      own = rows[here] - start
      own = own if part.rows is None else part.rows[own]
      found[here] = part.features.at(own)
    return found

  @functools.cached_property
  def features(self) -> np.ndarray:
    """f32[n, D], unit rows, all in memory; searches do without."""
    return self.features_at(np.arange(len(self)))

  @property
  def images(self) -> pathlib.Path:
    """The folder of images: where it was, else beside the index as it was then."""
    return images_of(self.folder, self.manifest)

  @functools.cached_property
  def layout(self) -> str:
    """A hash of which row is what: equal where a graph of the rows still holds."""
    digest = hashlib.sha256()
    for name, file in sorted(self.files.items(), key=_place):
      digest.update(f'{file.shard} {file.start} {file.rows}\n'.encode())
      del name
    return digest.hexdigest()[:16]


def open_index(folder: str | os.PathLike) -> Index:
  """Opens an index as it is now; what later changes is not seen.

  Features are mapped: read when they are asked for, and not all at once. Where a
  command that makes it was stopped, what is there is searched, with a warning.

  Raises:
    UserError: it is none, damaged, or holds no image that could be read.
  """
  check_local(folder, '--index')
  folder = pathlib.Path(folder).expanduser()
  manifest = read_manifest(folder)
  catalogue, shards = _opened(folder)
  index = _assembled(folder, manifest, catalogue, shards)
  if not len(index):
    raise UserError(
      f'--index: expected images that can be read; found none in {folder}: '
      f'{len(index.skipped)} of {len(index.names)} were skipped. '
      f'{next(iter(index.skipped.values()), "")}'.rstrip()
    )
  if index.missing:
    logging.warning(
      '%s lacks %d of %d images so far. The command that makes it goes on with it.',
      *(folder, index.missing, index.missing + len(index.names)),
    )
  return index


def check_model(index: Index, *, sha256: str, width: int) -> None:
  """That an index was made by a model, as far as it is known.

  Args:
    index: whose model has a hash, or a name that the user gave.
    sha256: hash of the model.
    width: of its features.

  Raises:
    UserError: the index was made by another one.
  """
  made_by = index.manifest['model_sha256']
  if not made_by and index.width != width:
    raise UserError(
      f'--workdir: expected {index.manifest["made_by"]}, as --made_by says, with '
      f'features of {index.width:,} numbers as in {index.folder}; found a model with '
      f'{width:,}. Give the --workdir of that model.'
    )
  if made_by and made_by != sha256:
    raise UserError(
      f'--index: expected the model that made {index.folder}, SHA-256 {made_by[:12]}, '
      f'from {index.manifest["model_path"]}; found one with {sha256[:12]}. Set '
      '--workdir to that one, or make an index with this one.'
    )


def _opened(folder: pathlib.Path) -> tuple[Catalogue, dict[str, Shard]]:
  """The state of an index with its shards, of one moment."""
  for _ in range(TRIES):
    catalogue = read_catalogue(folder)
    names = sorted({file.shard for file in catalogue.files.values() if file.rows})
    try:
      return catalogue, {name: open_shard(folder, name) for name in names}
    except FileNotFoundError:
      continue  # Another program has just put shards together.
  gone = [name for name in names if not shard_path(folder, name).exists()]
  raise UserError(
    f'--index: expected the shard {shard_path(folder, gone[0] if gone else names[0])}; '
    'found none. The command that made the index makes its rows again.'
  )


def _assembled(
  folder: pathlib.Path,
  manifest: Mapping,
  catalogue: Catalogue,
  shards: Mapping[str, Shard],
) -> Index:
  names = list(catalogue.files)
  number = {name: i for i, name in enumerate(names)}
  inside = {name: [] for name in shards}
  for name, file in sorted(catalogue.files.items(), key=_place):
    if file.rows:
      inside[file.shard].append((number[name], file))
  parts, file, boxes, corners = [], [], [], []
  for name, shard in shards.items():
    rows = _rows([of for _, of in inside[name]], n_rows=len(shard.boxes))
    parts.append(Part(shard.features, rows))
    file += [np.full(of.rows, i, np.int32) for i, of in inside[name]]
    kept = slice(None) if rows is None else rows
    boxes.append(shard.boxes[kept])
    corners.append(_corners(shard)[kept])
  return Index(
    folder=folder,
    manifest=manifest,
    names=names,
    file=np.concatenate([np.zeros(0, np.int32), *file]),
    boxes=np.concatenate([np.zeros((0, 4), np.int32), *boxes]),
    corners=np.concatenate([np.zeros((0, 4, 2)), *corners]),
    parts=parts,
    files=catalogue.files,
    missing=catalogue.missing,
  )


def _place(item: tuple[str, File]) -> tuple[str, int]:
  """Where in the order of rows a file stands."""
  return item[1].shard, item[1].start


def _rows(files: Sequence[File], *, n_rows: int) -> np.ndarray | None:
  """i64[k], which rows of a shard count, rising; None for all."""
  if sum(file.rows for file in files) == n_rows:
    return None
  return np.concatenate([np.arange(f.start, f.start + f.rows) for f in files])


def _corners(shard: Shard) -> np.ndarray:
  if shard.corners is None:
    return np.full((len(shard.boxes), 4, 2), np.nan)
  return shard.corners
