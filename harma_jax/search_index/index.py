"""The index on the disk.

  manifest.json           which model, which preprocessing, which files, how cut
  shards/00000.safetensors ...  features and boxes of some of the files each
  graph.usearch           for approximate search, where it was asked for

A shard is written in one move and holds all about its files, so that shards may be made
in any order, by any number of machines, and what is there is never half of something.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import uuid
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import safetensors
import safetensors.numpy

from harma_jax.errors import UserError

MANIFEST_FILE = 'manifest.json'
GRAPH_FILE = 'graph.usearch'
SHARD_FOLDER = 'shards'
FORMAT, VERSION = 'harma_jax index', 1

# A stopped program loses at most one shard; scenes have thousands of tiles each.
FILES_A_SHARD, SCENES_A_SHARD = 512, 8

# What may differ between the calls that make an index: where things are.
FREE = ('images', 'images_from_index', 'model_path')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """What is known of some files.

  Attributes:
    features: f32[n, D], unit rows.
    file: i32[n], to which of `names` a row belongs.
    boxes: i32[n, 4]: left, top, width, height in pixels.
    corners: f64[n, 4, 2], longitude and latitude (WGS84), NaN where not known; or None
      where none of the rows has any.
    names: of the files, relative to the folder of images, skipped ones included.
    skipped: name -> what is wrong with the file.
  """

  features: np.ndarray
  file: np.ndarray
  boxes: np.ndarray
  corners: np.ndarray | None
  names: Sequence[str]
  skipped: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Index:
  """An index that is complete; a row is an image, or a tile of one.

  Attributes:
    folder: where it lies.
    manifest: see `make_manifest`.
    names: of all files, relative to the folder of images.
    file: i32[n], to which of `names` a row belongs.
    boxes: i32[n, 4], see `Shard`.
    corners: f64[n, 4, 2], see `Shard`; NaN where not known.
    skipped: name -> what is wrong with the file.
  """

  folder: pathlib.Path
  manifest: Mapping
  names: Sequence[str]
  file: np.ndarray
  boxes: np.ndarray
  corners: np.ndarray
  skipped: Mapping[str, str]

  def __len__(self) -> int:
    return len(self.file)

  @functools.cached_property
  def features(self) -> np.ndarray:
    """f32[n, D], unit rows, all in memory; read when first asked for."""
    n_shards = shard_count(self.manifest)
    paths = (shard_path(self.folder, number) for number in range(n_shards))
    parts = [read_tensors(path, 'features')['features'] for path in paths]
    return np.concatenate([part for part in parts if len(part)])

  @property
  def images(self) -> pathlib.Path:
    """The folder of images: where it was, else beside the index as it was then."""
    then = pathlib.Path(self.manifest['images'])
    moved = self.folder / self.manifest['images_from_index']
    return moved if moved.is_dir() and not then.is_dir() else then


def make_manifest(
  folder: pathlib.Path,
  files: Sequence[str],
  *,
  images: pathlib.Path,
  model: Mapping[str, str],
  preprocessing: Mapping,
  tile: int,
  stride: int,
) -> dict:
  """What an index says of itself, as JSON has it.

  Args:
    folder: of the index.
    files: names of the images, in order.
    images: the folder that they are relative to.
    model: `model_sha256` and `model_path`.
    preprocessing: how an image becomes what the model sees.
    tile: see `files.tile_boxes`.
    stride: see `files.tile_boxes`.
  """
  images = images.expanduser().resolve()
  names = '\0'.join(files).encode(errors='surrogateescape')
  return {
    'format': FORMAT,
    'version': VERSION,
    **model,
    'preprocessing': dict(preprocessing),
    'images': str(images),
    'images_from_index': os.path.relpath(images, folder.resolve()),
    'tile': tile,
    'stride': stride,
    'n_files': len(files),
    'files_sha256': hashlib.sha256(names).hexdigest(),
    'files_a_shard': SCENES_A_SHARD if tile else FILES_A_SHARD,
  }


def claim(folder: pathlib.Path, manifest: Mapping) -> None:
  """Makes `folder` the index that `manifest` describes, or checks that it is.

  Several programs may do so at once.

  Raises:
    UserError: it is another one or in other use, or cannot be written.
  """
  try:
    (folder / SHARD_FOLDER).mkdir(parents=True, exist_ok=True)
    if not (folder / MANIFEST_FILE).exists():
      _check_unused(folder)
      with replacing(folder / MANIFEST_FILE) as new:
        new.write_text(json.dumps(manifest, indent=2) + '\n')
  except OSError as error:
    raise UserError(
      f'--out: expected a folder that can be written; found {folder}: {error}. Give '
      'another --out.'
    ) from error
  _check_same(folder, read_manifest(folder), manifest)


def read_manifest(folder: pathlib.Path) -> dict:
  """The manifest of an index.

  Raises:
    UserError: `folder` is no index, or one of another version.
  """
  path = folder / MANIFEST_FILE
  try:
    manifest = json.loads(path.read_text())
    found = manifest['format'], manifest['version']
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(
      f'--index: expected an index, with {MANIFEST_FILE}; found {folder}: '
      f'{type(error).__name__}. Make one: python -m harma_jax.search index '
      '--workdir=FOLDER --images=FOLDER --out=INDEX'
    ) from error
  if found != (FORMAT, VERSION):
    raise UserError(
      f'--index: expected {FORMAT!r} of version {VERSION}; found {found[0]!r} of '
      f'version {found[1]} in {path}. Make the index anew.'
    )
  return manifest


def open_index(folder: str | os.PathLike) -> Index:
  """Opens an index; features are read when they are asked for.

  Raises:
    UserError: it is none, not complete, damaged, or no image in it could be read.
  """
  folder = pathlib.Path(folder).expanduser()
  manifest = read_manifest(folder)
  missing = missing_shards(folder, manifest)
  if missing:
    raise UserError(
      f'--index: expected all {shard_count(manifest)} shards in {folder}; found '
      f'{len(missing)} missing. The command that began the index goes on with it.'
    )
  numbers = range(shard_count(manifest))
  shards = [_read_rows(shard_path(folder, number), manifest) for number in numbers]
  names = [name for shard in shards for name in shard.names]
  skipped = {name: why for shard in shards for name, why in shard.skipped.items()}
  offsets = np.cumsum([0, *(len(shard.names) for shard in shards)])
  file = [shard.file + start for shard, start in zip(shards, offsets, strict=False)]
  file = np.concatenate(file).astype(np.int32)
  if not len(file):
    raise UserError(
      f'--index: expected images that can be read; found none in {folder}: '
      f'{len(skipped)} of {len(names)} were skipped. {next(iter(skipped.values()), "")}'
    )
  return Index(
    folder=folder,
    manifest=manifest,
    names=names,
    file=file,
    boxes=np.concatenate([shard.boxes for shard in shards]),
    corners=np.concatenate([shard.corners for shard in shards]),
    skipped=skipped,
  )


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
  found = index.features.shape[1]
  if not made_by and found != width:
    raise UserError(
      f'--workdir: expected {index.manifest["made_by"]}, as --made_by says, with '
      f'features of {found:,} numbers as in {index.folder}; found a model with '
      f'{width:,}. Give the --workdir of that model.'
    )
  if made_by and made_by != sha256:
    raise UserError(
      f'--index: expected the model that made {index.folder}, SHA-256 {made_by[:12]}, '
      f'from {index.manifest["model_path"]}; found one with {sha256[:12]}. Set '
      '--workdir to that one, or make an index with this one.'
    )


def shard_count(manifest: Mapping) -> int:
  """How many shards the index has when it is complete."""
  return -(-manifest['n_files'] // manifest['files_a_shard'])


def shard_path(folder: pathlib.Path, number: int) -> pathlib.Path:
  """Where a shard lies, or will."""
  return folder / SHARD_FOLDER / f'{number:05}.safetensors'


def missing_shards(folder: pathlib.Path, manifest: Mapping) -> list[int]:
  """The shards that have not been written, rising."""
  numbers = range(shard_count(manifest))
  return [number for number in numbers if not shard_path(folder, number).exists()]


def write_shard(path: pathlib.Path, shard: Shard, *, manifest: Mapping) -> None:
  """Writes a shard in one move."""
  tensors = {'features': shard.features, 'file': shard.file, 'boxes': shard.boxes}
  if shard.corners is not None:
    tensors['corners'] = shard.corners
  facts = {'names': list(shard.names), 'skipped': dict(shard.skipped)}
  facts['index'] = _identity(manifest)
  metadata = {name: json.dumps(value) for name, value in facts.items()}
  with replacing(path) as new:
    safetensors.numpy.save_file(tensors, new, metadata=metadata)
    new.chmod(0o644)  # the library lets only its writer read it


def read_tensors(path: pathlib.Path, *names: str) -> dict[str, np.ndarray]:
  """Some tensors of a shard; those that it does not have are left out.

  Raises:
    UserError: it cannot be read.
  """
  with _opened(path) as file:
    there = set(file.keys())
    return {name: file.get_tensor(name) for name in names if name in there}


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A path to write to instead of `path`, moved there when all is written."""
  # Several programs may write the same file at once.
  new = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
  try:
    yield new
    os.replace(new, path)
  finally:
    new.unlink(missing_ok=True)


def _read_rows(path: pathlib.Path, manifest: Mapping) -> Shard:
  """A shard without its features.

  Raises:
    UserError: it cannot be read, or belongs to another index.
  """
  with _opened(path) as file:
    facts = {name: json.loads(text) for name, text in file.metadata().items()}
  if facts['index'] != _identity(manifest):
    raise UserError(
      f'--index: expected shards of one index; {path} belongs to another. Make the '
      'index anew.'
    )
  tensors = {'corners': None} | read_tensors(path, 'file', 'boxes', 'corners')
  if tensors['corners'] is None:
    tensors['corners'] = np.full((len(tensors['file']), 4, 2), np.nan)
  no_features = np.zeros((0, 0), np.float32)
  names, skipped = facts['names'], facts['skipped']
  return Shard(features=no_features, names=names, skipped=skipped, **tensors)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator:
  try:
    with safetensors.safe_open(path, 'numpy') as file:
      yield file
  except (OSError, safetensors.SafetensorError) as error:
    raise UserError(
      f'--index: expected a readable shard; found {path}: {error}. Remove the file; '
      'the command that made the index makes it again.'
    ) from error


def _identity(manifest: Mapping) -> str:
  """A hash of all that may not differ between the calls that make an index."""
  fixed = {name: value for name, value in manifest.items() if name not in FREE}
  return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def _check_unused(folder: pathlib.Path) -> None:
  others = sorted(path.name for path in folder.iterdir() if path.name != SHARD_FOLDER)
  others = [name for name in others if not name.startswith(f'.{MANIFEST_FILE}')]
  if others or any((folder / SHARD_FOLDER).glob('*.safetensors')):
    raise UserError(
      f'--out: expected a new folder, or an index that was begun; found {folder} with '
      f'{", ".join(others[:5]) or "shards alone"}. Give another --out.'
    )


def _check_same(folder: pathlib.Path, old: Mapping, new: Mapping) -> None:
  differing = [
    f'{name} was {old.get(name)!r}, now {new.get(name)!r}'
    for name in sorted(old.keys() | new.keys())
    if name not in FREE and old.get(name) != new.get(name)
  ]
  if differing:
    raise UserError(
      f'--out: expected to go on with the index in {folder}; found others: '
      f'{"; ".join(differing)}. Give another --out.'
    )
