"""Adapters alone, in a folder: written, read, and put onto the backbone they fit."""

import dataclasses
import hashlib
import json
import pathlib

import numpy as np
import safetensors
import safetensors.numpy

from harma_jax.errors import UserError
from harma_jax.model.clip import Clip
from harma_jax.weights.load import graft, is_new, warn_of_cleaning
from harma_jax.weights.names import paths_of, tree_of

WEIGHTS_FILE = 'adapter_model.safetensors'
CONFIG_FILE = 'adapter_config.json'
VERSION = 1
# What a folder holds that does not say.
SILENT = {'adapters': 'harma', 'adapter_attention': True, 'cleaning': 'released'}


def write_adapter(
  folder: pathlib.Path,
  params: dict,
  *,
  model: Clip,
  size: str,
  cleaning: str,
  provenance: dict,
) -> None:
  """Writes the adapters and the temperature, f32, and what backbone they fit.

  Args:
    folder: made here.
    params: of `model`; names in the file are their paths, joined by `.`.
    model: has adapters.
    size: its name.
    cleaning: of the captions that it was trained on.
    provenance: where the backbone comes from.
  """
  folder.mkdir(parents=True)
  leaves = {
    path.replace('/', '.'): np.asarray(leaf, np.float32, order='C')
    for path, leaf in paths_of(params).items()
    if _is_adapted(path)
  }
  save_tensors(folder / WEIGHTS_FILE, leaves)
  config = {
    'format': 'harma_jax adapter',
    'version': VERSION,
    'size': size,
    'cleaning': cleaning,
    **_fields_of(model),
    'backbone': {
      'sha256': backbone_hash(params),
      'provenance': provenance,
    },
  }
  (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + '\n')


def load_adapter(
  folder: str | pathlib.Path, params: dict, *, model: Clip, cleaning: str
) -> tuple[dict, dict]:
  """`params` with the adapters and the temperature of a folder, and a record of them.

  Captions that were cleaned in another way there than `cleaning` are warned of.

  Raises:
    UserError: the folder cannot be read, or its adapters are not for this model and
      backbone.
  """
  folder = pathlib.Path(folder).expanduser()
  config = _read_config(folder)
  kind = model.adapter.kind if model.adapter else 'none'
  if kind != config['adapters']:
    raise UserError(
      f'adapter: expected a model for the adapters of {folder}; found '
      f'model.adapters={kind}. Set --config.model.adapters={config["adapters"]}, or '
      'leave adapter empty.'
    )
  _check_settings(config, _fields_of(model), folder=folder)
  warn_of_cleaning(config['cleaning'], cleaning=cleaning, source=folder)
  _check_backbone(config, params, folder=folder)
  given = {name.replace('.', '/'): leaf for name, leaf in read_tensors(folder).items()}
  kept = {path: leaf for path, leaf in paths_of(params).items() if path not in given}
  kept = {path: leaf for path, leaf in kept.items() if not _is_adapted(path)}
  params = graft(params, tree_of(kept | given), source_name=str(folder))
  return params, {'path': str(folder), 'backbone': config['backbone']}


def save_tensors(
  path: pathlib.Path, tensors: dict[str, np.ndarray], **notes: str
) -> None:
  """Writes contiguous tensors and notes to a safetensors file that others may read."""
  # Without this word some versions of transformers refuse the file.
  safetensors.numpy.save_file(tensors, path, metadata={'format': 'pt'} | notes)
  path.chmod(0o644)  # the library lets only its writer read it


def _fields_of(model: Clip) -> dict:
  """What adapters of any kind depend on, by the fields of `config.model`."""
  kind = model.adapter.kind
  if kind == 'harma':
    attention = {'adapter_attention': model.adapter.attention}
    return {'adapters': kind, **settings_of(model), **attention}
  own = dataclasses.asdict(model.adapter)
  return {
    'adapters': kind,
    'image_size': model.size.image_size,
    'activation': model.size.activation,
    **{f'{kind}.{name}': value for name, value in own.items()},
  }


def settings_of(model: Clip) -> dict:
  """What HarMA's adapters depend on besides the backbone's weights, as plain values."""
  return {
    'image_size': model.size.image_size,
    'activation': model.size.activation,
    'bottleneck': model.adapter.bottleneck,
    'shared_bottleneck': model.adapter.shared_bottleneck,
    'adapter_heads': model.adapter.heads,
    'shared_adapter': model.shared_adapter,
    'adapter_padding': model.adapter_padding,
  }


def backbone_hash(params: dict) -> str:
  """SHA-256 (hex) of CLIP's own leaves: sorted paths, shapes, values as f32.

  Adapters, the temperature and the unused logit scale are left out.
  """
  leaves = {
    path: leaf
    for path, leaf in paths_of(params).items()
    if not _is_adapted(path) and path != 'logit_scale'
  }
  digest = hashlib.sha256()
  for path in sorted(leaves):
    leaf = np.asarray(leaves[path]).astype('<f4', order='C')
    digest.update(f'{path} {list(leaf.shape)}\n'.encode())
    digest.update(leaf)
  return digest.hexdigest()


def _is_adapted(path: str) -> bool:
  return is_new(path) or path in ('temperature', 'logit_bias')


def _read_config(folder: pathlib.Path) -> dict:
  path = folder / CONFIG_FILE
  try:
    config = SILENT | json.loads(path.read_text())
    version = config['version']
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(
      'adapter: expected a folder of export --format=adapter, or of PEFT, with '
      f'{CONFIG_FILE} and {WEIGHTS_FILE}; found {folder}: {type(error).__name__}: '
      f'{error}. Set --config.adapter=FOLDER.'
    ) from error
  if version != VERSION:
    raise UserError(
      f'adapter: expected version {VERSION} of the format; found {version} in {path}. '
      'Use the harma_jax that wrote it, or export again.'
    )
  return config


def read_tensors(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """The tensors of a folder of adapters by name.

  Raises:
    UserError: they cannot be read.
  """
  path = folder / WEIGHTS_FILE
  try:
    return safetensors.numpy.load_file(path)
  except (OSError, safetensors.SafetensorError) as error:
    raise UserError(
      f'adapter: expected readable weights; found {path}: {error}. Export them again.'
    ) from error


def _check_settings(config: dict, wanted: dict, *, folder: pathlib.Path) -> None:
  differing = [
    f'{name} is {config.get(name)!r} there, {value!r} here'
    for name, value in wanted.items()
    if config.get(name) != value
  ]
  if differing:
    raise UserError(
      f'adapter: expected the settings of {folder}; found others: '
      f'{"; ".join(differing)}. Set --config.model.size={config.get("size")} and '
      'model.* as there.'
    )


def _check_backbone(config: dict, params: dict, *, folder: pathlib.Path) -> None:
  backbone = config['backbone']
  found = backbone_hash(params)
  if found != backbone['sha256']:
    origin = backbone['provenance'].get('init', '') or 'random weights'
    raise UserError(
      f'adapter: expected the backbone that {folder} was trained on, SHA-256 '
      f'{backbone["sha256"]}; found one with {found}. Set --config.init to the weights '
      f'it started from ({origin}), with the same --config.model.image_size.'
    )
