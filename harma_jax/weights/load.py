"""Starting weights from files of other programs, strictly matched to our parameters."""

import pathlib
import zipfile

import huggingface_hub
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from absl import logging
from flax import traverse_util
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from harma_jax.errors import UserError
from harma_jax.model.clip import Clip
from harma_jax.weights.names import (
  HARMA_PREFIX,
  harma_names,
  openclip_names,
  paths_of,
  take,
)

HUB_FILE = 'open_clip_model.safetensors'


def load_weights(source: str, params: dict, *, model: Clip) -> dict:
  """`params` with the weights of a file put in.

  Args:
    source: a `.safetensors` or `.npz` file with OpenCLIP's or HarMA's names, a folder
      that holds `open_clip_model.safetensors`, or the id of such a hub repository.
    params: fresh parameters of `model`; adapters that the file does not have stay so.
    model: whose size the file must have.

  Raises:
    UserError: no such source, or tensors that do not fit; lists missing and unexpected.
  """
  path = find_weights(source)
  tensors = read_tensors(path)
  fresh = paths_of(params)
  names = _names(fresh, tensors, model=model)
  leaves = take(names, tensors)
  logging.info('%s: %d tensors, %d parameters', path, len(tensors), len(leaves))
  source_tree = traverse_util.unflatten_dict(leaves, sep='/')
  return graft(params, source_tree, source_name=str(path))


def graft(params: dict, source: dict, *, source_name: str) -> dict:
  """`params` with the leaves of `source` in place of its own, dtypes kept.

  Adapters that `source` has none of stay as they are; so may the temperature.

  Raises:
    UserError: leaves are missing, unexpected or of another shape.
  """
  fresh, given = paths_of(params), paths_of(source)
  has_adapters = any(_of_adapter(path) for path in given)
  optional = {
    path
    for path in fresh
    if path == 'temperature' or (_of_adapter(path) and not has_adapters)
  }
  missing = sorted(set(fresh) - set(given) - optional)
  unexpected = sorted(set(given) - set(fresh))
  shapes = [
    f'{path} {given[path].shape} instead of {fresh[path].shape}'
    for path in sorted(set(given) & set(fresh))
    if given[path].shape != fresh[path].shape
  ]
  if missing or unexpected or shapes:
    raise UserError(
      f'Expected weights of the model that the config describes in {source_name}; '
      f'missing: {_some(missing)}; unexpected: {_some(unexpected)}; '
      f'of another shape: {_some(shapes)}. Set model.* as the weights were made.'
    )
  leaves = {
    path: jnp.asarray(given.get(path, leaf), leaf.dtype) for path, leaf in fresh.items()
  }
  return traverse_util.unflatten_dict(leaves, sep='/')


def find_weights(source: str) -> pathlib.Path:
  """The file that `source` means; one of the hub is downloaded once and kept.

  Raises:
    UserError: neither a path nor a repository of the hub that can be reached.
  """
  path = pathlib.Path(source).expanduser()
  if path.is_dir() and (path / HUB_FILE).is_file():
    return path / HUB_FILE
  if path.is_file():
    return path
  if path.exists() or source.count('/') != 1 or source.startswith(('.', '/', '~')):
    raise UserError(
      f'init: expected a weight file, a folder with {HUB_FILE}, a work folder of '
      f'harma_jax, or the id of a hub repository (owner/name); found {source!r}.'
    )
  try:
    return pathlib.Path(huggingface_hub.hf_hub_download(source, HUB_FILE))
  except (HfHubHTTPError, HFValidationError, OSError) as error:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise UserError(
      f'init: expected to download {HUB_FILE} of {source!r} from the hub, or to find '
      f'{source!r} as a path; found neither: {reason.rstrip(".")}. Download it where '
      'there is a network and set --config.init=FILE.'
    ) from error


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The tensors of a `.safetensors` or `.npz` file by name.

  Raises:
    UserError: another kind of file, or a broken one.
  """
  readers = {'.safetensors': safetensors.numpy.load_file, '.npz': read_npz}
  if path.suffix not in readers:
    raise UserError(
      f'init: expected a file that ends in {" or ".join(readers)}; found {path}.'
    )
  try:
    return readers[path.suffix](path)
  except (OSError, safetensors.SafetensorError) as error:
    raise UserError(f'init: expected readable weights; {path}: {error}.') from error


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of an `.npz` file by name.

  Raises:
    UserError: no such file, or another kind of file.
  """
  try:
    with path.open('rb') as file, np.lib.npyio.NpzFile(file) as arrays:
      return dict(arrays)
  except (OSError, ValueError, zipfile.BadZipFile) as error:
    raise UserError(f'Expected a readable .npz file; found {path}: {error}.') from error


def _names(fresh: dict, tensors: dict, *, model: Clip) -> list:
  layers = {
    'image_layers': model.size.image.layers,
    'text_layers': model.size.text.layers,
  }
  if not any(name.startswith(HARMA_PREFIX) for name in tensors):
    backbone = [p for p in fresh if not _of_adapter(p) and p != 'temperature']
    return openclip_names(backbone, **layers)
  return harma_names(fresh, shared_adapter=model.shared_adapter, **layers)


def _of_adapter(path: str) -> bool:
  return 'adapter' in path or path.endswith('block_gate')


def _some(names: list[str], *, most: int = 4) -> str:
  more = f' and {len(names) - most} more' if len(names) > most else ''
  return (', '.join(names[:most]) or 'none') + more
