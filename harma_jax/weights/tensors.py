"""Tensors in files, recognised by content: safetensors, npz, PyTorch's three forms."""

import contextlib
import json
import pathlib
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping

import ml_dtypes  # noqa: F401, numpy's bfloat16, which safetensors asks for by name
import numpy as np
import safetensors

from harma_jax.errors import UserError
from harma_jax.weights.torchscript import open_torchscript


class Lazy(Mapping):
  """Tensors by name, read one at a time.

  Attributes:
    cleaning: what the file says of how captions were cleaned; '' for nothing.
  """

  def __init__(
    self,
    names: Mapping[str, str],
    read: Callable[[str], np.ndarray],
    *,
    cleaning: str = '',
  ):
    self._names, self._read, self.cleaning = names, read, cleaning

  def __getitem__(self, name: str) -> np.ndarray:
    return self._read(self._names[name])

  def __iter__(self) -> Iterator[str]:
    return iter(self._names)

  def __len__(self) -> int:
    return len(self._names)

  def renamed(self, pattern: str, replacement: str = '') -> 'Lazy':
    """With new names; where two become one, there are fewer."""
    names = {re.sub(pattern, replacement, new): old for new, old in self._names.items()}
    return Lazy(names, self._read, cleaning=self.cleaning)

  def without(self, pattern: re.Pattern) -> 'Lazy':
    kept = {new: old for new, old in self._names.items() if not pattern.fullmatch(new)}
    return Lazy(kept, self._read, cleaning=self.cleaning)


# What the names of an index end in, of transformers' and OpenCLIP's shards.
SHARDS = ('.safetensors.index.json', '.bin.index.json')


# As safetensors and torch call them.
_FLOATS = {
  *('F16', 'BF16', 'F32', 'F64'),
  *('torch.float16', 'torch.bfloat16', 'torch.float32', 'torch.float64'),
}


def shards_of(index: pathlib.Path) -> list[pathlib.Path]:
  """The files, beside an index, that its tensors are in.

  Raises:
    UserError: it is no index.
  """
  return [index.with_name(name) for name in sorted(set(_weight_map(index).values()))]


def _weight_map(index: pathlib.Path) -> dict[str, str]:
  with contextlib.suppress(ValueError, KeyError, AttributeError, TypeError):
    names = json.loads(index.read_text())['weight_map']
    if all(name == pathlib.PurePath(name).name for name in names.values()):
      return dict(names)
  raise UserError(
    f'init: expected an index of shards, with file names in weight_map; {index} is '
    'damaged. Fetch the file again.'
  )


def _sharded(index: pathlib.Path) -> Lazy:
  missing = [path.name for path in shards_of(index) if not path.is_file()]
  if missing:
    raise UserError(
      f'init: expected all shards of {index}; {", ".join(missing)} are not there. '
      'Fetch them too.'
    )
  shards = {path.name: open_tensors(path)[0] for path in shards_of(index)}
  places = _weight_map(index)
  found = {name for tensors in shards.values() for name in tensors}
  wrong = sorted(set(places) ^ found)
  if wrong:
    raise UserError(
      f'init: expected the tensors that {index} lists in its shards; they differ in '
      f'{", ".join(wrong[:8])}. Fetch all files of one version.'
    )
  return Lazy({name: name for name in places}, lambda name: shards[places[name]][name])


def open_tensors(path: pathlib.Path) -> tuple[Lazy, bool]:
  """The tensors of a file, and whether it is a TorchScript archive (OpenAI's form)."""
  if path.name.endswith(SHARDS):
    return _sharded(path), False
  with path.open('rb') as file:
    head = file.read(9)
  if head[:2] == b'PK':
    return _open_zip(path)
  if head[8:] == b'{':
    return _safetensors(path), False
  if head[:1] == b'\x80':
    return _pickled(path, mapped=False), False
  raise UserError(
    f'init: expected readable weights in {path}: safetensors, an npz or a PyTorch '
    f'file; found {head!r} at its start.'
  )


def _open_zip(path: pathlib.Path) -> tuple[Lazy, bool]:
  try:
    with zipfile.ZipFile(path) as archive:
      members = archive.namelist()
  except zipfile.BadZipFile as error:
    raise UserError(_damage(path, error)) from error
  if all(name.endswith('.npy') for name in members):
    arrays = read_npz(path)
    return Lazy({name: name for name in arrays}, arrays.__getitem__), False
  if any(name.endswith('/constants.pkl') for name in members):
    names, read = open_torchscript(path)
    return Lazy({name: name for name in names}, read), True
  return _pickled(path, mapped=True), False


def _check_dtype(dtype: str, *, name: str, path: pathlib.Path) -> None:
  """Raises UserError for numbers that f32 does not stand for: of 8 bits, integers."""
  if dtype not in _FLOATS:
    raise UserError(
      f'init: expected weights of f16, bf16, f32 or f64; {name} in {path} has {dtype}, '
      'whose scales harma_jax does not know. Take the weights before they were made '
      'smaller.'
    )


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


def _safetensors(path: pathlib.Path) -> Lazy:
  def read(name):
    # Opened anew each time: what has been read stays in memory until a file is closed.
    with safetensors.safe_open(path, framework='numpy') as file:
      _check_dtype(file.get_slice(name).get_dtype(), name=name, path=path)
      return file.get_tensor(name)

  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      names = file.keys()  # not a mapping
      metadata = file.metadata() or {}
  except (OSError, safetensors.SafetensorError) as error:
    raise UserError(_damage(path, error)) from error
  names = {name: name for name in names}
  return Lazy(names, read, cleaning=metadata.get('cleaning', ''))


def _pickled(path: pathlib.Path, *, mapped: bool) -> Lazy:
  """Tensors of a file of `torch.save`, `mapped` where it is a zip archive."""
  torch = _torch(path)
  try:
    loaded = torch.load(path, map_location='cpu', weights_only=True, mmap=mapped)
  except pickle.UnpicklingError as error:
    raise UserError(_refusal(path, str(error))) from error
  # What damaged files raise is one of many, with words of several lines.
  except Exception as error:
    raise UserError(_damage(path, error)) from error
  state = _state_dict(loaded, path=path)
  return _torch_tensors(state, path=path, cleaning=_cleaning_of(loaded))


def _cleaning_of(loaded: object) -> str:
  """Out of the config of a run that our export puts beside the weights."""
  for key in ('config', 'data', 'cleaning'):
    loaded = loaded.get(key) if isinstance(loaded, Mapping) else None
  return loaded if isinstance(loaded, str) else ''


def _damage(path: pathlib.Path, error: Exception) -> str:
  reason = (str(error).strip() or type(error).__name__).splitlines()[0]
  return (
    f'init: expected readable weights; {path} is damaged: {reason.rstrip(".")}. Fetch '
    'the file again.'
  )


def _refusal(path: pathlib.Path, reason: str) -> str:
  found = re.search(r'GLOBAL (\S+)', reason)
  what = found[1] if found else 'what no file of torch.save holds'
  return (
    f'init: expected a PyTorch file of tensors and plain values alone; {path} holds '
    f'{what}, which could run code when read: it is refused, and nothing was run. '
    'Where you trust the file, read it where it was made and save its tensors alone: '
    "state = torch.load(FILE, weights_only=False); torch.save(state.get('model', "
    'state), NEW_FILE).'
  )


def _torch(path: pathlib.Path):
  try:
    import torch
  except ImportError as error:
    raise UserError(
      f'init: expected torch to read {path}, a PyTorch file; it is not installed. '
      "pip install 'harma_jax[torch]', or save the weights as safetensors."
    ) from error
  return torch


def _torch_tensors(state: Mapping, *, path: pathlib.Path, cleaning: str) -> Lazy:
  def read(name):
    tensor = state[name].detach()
    _check_dtype(str(tensor.dtype), name=name, path=path)
    # Numpy has no bfloat16; f32 holds it exactly.
    return (tensor if tensor.dtype.itemsize == 4 else tensor.float()).numpy()

  return Lazy({name: name for name in state}, read, cleaning=cleaning)


def _state_dict(loaded: object, *, path: pathlib.Path) -> dict:
  """The tensors by name, out of the dict that a training program saved around them."""
  for key in ('state_dict', 'model'):
    if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
      loaded = loaded[key]
  is_state = isinstance(loaded, Mapping) and all(
    hasattr(tensor, 'dtype') for tensor in loaded.values()
  )
  if not is_state:
    raise UserError(
      'init: expected a state dict, or a dict with one as `state_dict` or `model`, in '
      f'{path}; found {type(loaded).__name__}.'
    )
  return dict(loaded)
