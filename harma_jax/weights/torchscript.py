"""The tensors of a TorchScript archive, the form of OpenAI's CLIP, without running it.

`torch.load(weights_only=True)` refuses such archives, and `torch.jit.load` runs the
`__setstate__` of their modules, which may write files.
"""

import dataclasses
import pathlib
import pickle
import zipfile
from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np

from harma_jax.errors import UserError

_DTYPES = {
  'BFloat16Storage': ml_dtypes.bfloat16,
  'HalfStorage': np.float16,
  'FloatStorage': np.float32,
  'DoubleStorage': np.float64,
  'ByteStorage': np.uint8,
  'CharStorage': np.int8,
  'ShortStorage': np.int16,
  'IntStorage': np.int32,
  'LongStorage': np.int64,
  'BoolStorage': np.bool_,
}


@dataclasses.dataclass
class _Tensor:
  """What the archive says of a tensor, in the order of torch's `_rebuild_tensor_v2`."""

  storage: tuple[str, str]  # type and number
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]
  requires_grad: bool
  hooks: dict


class _Module:
  """Stands for any class of the archive: takes its attributes, has no methods."""


_KNOWN = {
  ('torch._utils', '_rebuild_tensor_v2'): _Tensor,
  ('collections', 'OrderedDict'): dict,
  # Lists of ints and the like, which torch tags with their type.
  ('torch.jit._pickle', 'build_intlist'): list,
  ('torch.jit._pickle', 'build_doublelist'): list,
  ('torch.jit._pickle', 'build_boollist'): list,
  ('torch.jit._pickle', 'build_tensorlist'): list,
}


class _Unpickler(pickle.Unpickler):
  """Builds tensors' descriptions and plain modules, and can build nothing else."""

  def find_class(self, module: str, name: str) -> object:
    if module.split('.')[0] == '__torch__':
      return type(name, (_Module,), {})
    if module == 'torch' and name in _DTYPES:
      return name
    if (module, name) not in _KNOWN:
      raise pickle.UnpicklingError(f'{module}.{name}')
    return _KNOWN[module, name]

  def persistent_load(self, identity: tuple) -> tuple[str, str]:
    _, storage_type, number, *_ = identity
    return storage_type, number


def open_torchscript(
  path: pathlib.Path,
) -> tuple[list[str], Callable[[str], np.ndarray]]:
  """The names of an archive's parameters and buffers, and what reads one of them.

  Raises:
    UserError: the archive is damaged, or holds other things than modules of tensors.
  """
  try:
    archive = zipfile.ZipFile(path)
    (root,) = (
      name.removesuffix('/data.pkl')
      for name in archive.namelist()
      if name.endswith('/data.pkl')
    )
    with archive.open(f'{root}/data.pkl') as file:
      tensors = dict(_tensors(_Unpickler(file).load()))
  # What a damaged or a hostile pickle raises is one of many.
  except Exception as error:
    raise UserError(
      f'init: expected a TorchScript archive of modules and tensors alone; {path} is '
      f'damaged or holds something else, which is not run: {error}. Where you trust '
      'the file, save the state_dict() of torch.jit.load(FILE) as safetensors.'
    ) from error

  def read(name):
    try:
      return _read(archive, root, tensors[name])
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
      raise UserError(
        f'init: expected readable weights; {path} is damaged: {name}: {error}. Fetch '
        'the file again.'
      ) from error

  return list(tensors), read


def _tensors(module: _Module, *, prefix: str = '') -> Iterator[tuple[str, _Tensor]]:
  for name, value in vars(module).items():
    if isinstance(value, _Tensor):
      yield prefix + name, value
    elif isinstance(value, _Module):
      yield from _tensors(value, prefix=f'{prefix}{name}.')


def _read(archive: zipfile.ZipFile, root: str, tensor: _Tensor) -> np.ndarray:
  storage_type, number = tensor.storage
  dtype = np.dtype(_DTYPES[storage_type]).newbyteorder('<')
  # Numpy checks that offset and strides stay within the storage.
  return np.ndarray(
    tensor.shape,
    dtype,
    buffer=archive.read(f'{root}/data/{number}'),
    offset=tensor.offset * dtype.itemsize,
    strides=[stride * dtype.itemsize for stride in tensor.strides],
  )
