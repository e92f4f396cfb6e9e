"""What an index says of itself: its model, how pixels are read and cut, and where."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence

from harma_jax.errors import UserError
from harma_jax.search_index import catalogue, shards, storage
from harma_jax.search_index.storage import replacing

MANIFEST_FILE = 'manifest.json'
FORMAT, VERSION = 'harma_jax index', 2

FLAGS = ('tile', 'stride', 'storage', 'bands', 'stretch', 'min_valid')  # settings

# What may differ between the calls that change an index: where things are.
FREE = ('images', 'images_from_index', 'model_path')


def make_manifest(
  folder: pathlib.Path,
  *,
  images: pathlib.Path,
  model: Mapping[str, str],
  preprocessing: Mapping,
  tiles: Sequence[tuple[int, int]],
  storage: str,
) -> dict:
  """What an index says of itself, as JSON has it.

  Args:
    folder: of the index.
    images: the folder of images.
    model: `model_sha256` and `model_path`.
    preprocessing: how files are read, by the names of flags, and what the model sees
      of them.
    tiles: tile and stride of each scale in pixels; tile 0 for whole images.
    storage: of features, one of `shards.STORAGES`.
  """
  images = images.expanduser().resolve()
  return {
    'format': FORMAT,
    'version': VERSION,
    **model,
    'preprocessing': dict(preprocessing),
    'images': str(images),
    'images_from_index': os.path.relpath(images, folder.resolve()),
    'tile': [tile for tile, _ in tiles],
    'stride': [stride for _, stride in tiles],
    'storage': storage,
  }


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
      f'version {found[1]} in {path}. Make the index anew, with another --out.'
    )
  return manifest


def images_of(folder: pathlib.Path, manifest: Mapping) -> pathlib.Path:
  """The folder of images: where it was, else beside the index as it was then."""
  then = pathlib.Path(manifest['images'])
  moved = folder / manifest['images_from_index']
  return moved if moved.is_dir() and not then.is_dir() else then


def claim(folder: pathlib.Path, manifest: Mapping) -> None:
  """Makes `folder` the index that `manifest` describes, or checks that it is.

  Several programs may do so at once.

  Raises:
    UserError: it is another one or in other use, or cannot be written.
  """
  try:
    if not (folder / MANIFEST_FILE).exists():
      folder.mkdir(parents=True, exist_ok=True)
      _check_unused(folder)
      _write(folder, manifest)
    old = read_manifest(folder)
    _check_same(folder, old, manifest)
    if any(old[name] != manifest[name] for name in FREE):
      _check_images(folder, old, manifest)
      _write(folder, manifest)
  except OSError as error:
    raise UserError(
      f'--out: expected a folder that can be written; found {folder}: {error}. Give '
      'another --out.'
    ) from error


def _write(folder: pathlib.Path, manifest: Mapping) -> None:
  with replacing(folder / MANIFEST_FILE) as new:
    new.write_text(json.dumps(manifest, indent=2) + '\n')


def _check_unused(folder: pathlib.Path) -> None:
  ours = {catalogue.FOLDER, shards.FOLDER, storage.LOCK_FILE}
  others = sorted(path.name for path in folder.iterdir() if path.name not in ours)
  others = [name for name in others if not name.startswith(f'.{MANIFEST_FILE}')]
  begun = any((folder / name).is_dir() for name in ours)
  if others or begun:
    raise UserError(
      f'--out: expected a new folder, or an index that was begun; found {folder} with '
      f'{", ".join(others[:5]) or "shards alone"}. Give another --out.'
    )


def _check_same(folder: pathlib.Path, old: Mapping, new: Mapping) -> None:
  """The settings by the names of their flags: a user sees what to give."""
  old, new = _settings(old), _settings(new)
  if old['model'] != new['model']:
    raise UserError(
      f'--out: expected to go on with the index in {folder}, made by the model '
      f'{old["model"]["model_path"]}; found another, {new["model"]["model_path"]} '
      f'({_weights(old, new)}). Set --workdir to that one, or give another --out.'
    )
  differing = [
    f'{_flag(name)} was {_words(old.get(name))}, now {_words(new.get(name))}'
    for name in sorted(old.keys() | new.keys())
    if name != 'model' and old.get(name) != new.get(name)
  ]
  if differing:
    raise UserError(
      f'--out: expected to go on with the index in {folder}; found other settings: '
      f'{"; ".join(differing)}. Give the same, or another --out.'
    )


class _Model(dict):
  """Equal where the weights are, wherever they lie."""

  def __eq__(self, other: object) -> bool:
    return self['model_sha256'] == other['model_sha256']

  def __ne__(self, other: object) -> bool:
    return not self == other


def _settings(manifest: Mapping) -> dict:
  model = {name: manifest[name] for name in ('model_sha256', 'model_path')}
  return {
    'model': _Model(model),
    'tile': manifest['tile'],
    'stride': manifest['stride'],
    'storage': manifest['storage'],
    **manifest['preprocessing'],
  }


def _weights(old: Mapping, new: Mapping) -> str:
  paths = (each['model']['model_path'] for each in (old, new))
  return 'its weights have changed since' if len({*paths}) == 1 else 'other weights'


def _flag(name: str) -> str:
  return f'--{name}' if name in FLAGS else name


def _words(value: object) -> str:
  if value in (None, '', []):
    return 'not given'
  return ','.join(map(str, value)) if isinstance(value, list) else str(value)


def _check_images(folder: pathlib.Path, old: Mapping, new: Mapping) -> None:
  """Another folder would silently empty the index; one that moved is gone there."""
  before, now = images_of(folder, old), pathlib.Path(new['images'])
  if before.is_dir() and now.is_dir() and not before.samefile(now):
    raise UserError(
      f'--images: expected {before}, whose index {folder} is; found {now}. Give that '
      'folder, or another --out.'
    )
