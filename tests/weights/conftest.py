"""Weights as other programs name them: of the toys, golden ones, of the libraries."""

import importlib.util
import json
import pathlib
import sys

import numpy as np
import pytest
import safetensors.numpy

from harma_jax.model.sizes import Size, TowerSize
from harma_jax.weights.load import is_new
from harma_jax.weights.names import give, names_of, paths_of

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope='session')
def tensors_of():
  """`tensors_of(clip, params, layout)`: numpy arrays under a program's names."""

  def make(clip, params, layout):
    leaves = paths_of(params)
    if layout != 'harma':
      leaves = {p: v for p, v in leaves.items() if not is_new(p) and p != 'temperature'}
    names = names_of(
      leaves,
      layout=layout,
      image_layers=clip.size.image.layers,
      text_layers=clip.size.text.layers,
      shared_adapter=clip.shared_adapter,
    )
    tensors = give(names, leaves, patch=clip.size.patch_size)
    return {name: np.array(tensor, order='C') for name, tensor in tensors.items()}

  return make


@pytest.fixture(scope='session')
def write():
  """`write(path, tensors)`: an npz or a safetensors file; returns its name."""

  def to(path, tensors):
    if path.suffix == '.npz':
      np.savez(path, **tensors)
    else:
      safetensors.numpy.save_file({k: np.asarray(v) for k, v in tensors.items()}, path)
    return str(path)

  return to


@pytest.fixture(scope='session')
def golden_dir():
  """Toy weights that OpenCLIP and transformers made, see make_golden.py."""
  return HERE / 'golden'


@pytest.fixture(scope='session')
def golden(golden_dir):
  """The golden `images`, `tokens`, `size`, and `<program>/image` and `/text`."""
  return dict(np.load(golden_dir / 'features.npz'))


@pytest.fixture(scope='session')
def golden_size(golden):
  """`golden_size(activation)`."""
  toy = json.loads(str(golden['size']))
  towers = {
    tower: TowerSize(**dict(zip(('width', 'layers', 'heads'), toy[tower], strict=True)))
    for tower in ('image', 'text')
  }
  return lambda activation: Size(**toy | towers, activation=activation)


@pytest.fixture(scope='session')
def torch():
  torch = pytest.importorskip('torch')
  threads = torch.get_num_threads()
  torch.set_num_threads(1)  # more only wait for each other at this size
  yield torch
  torch.set_num_threads(threads)


@pytest.fixture(scope='session')
def libraries(torch):
  """The module make_golden: models of the libraries with random content."""
  return _module('make_golden')


@pytest.fixture(scope='session')
def siglips(libraries):
  """The module make_golden_siglip, likewise: SigLIP and Long-CLIP."""
  sys.modules['make_golden'] = libraries  # which it imports from beside it
  return _module('make_golden_siglip')


def _module(name):
  spec = importlib.util.spec_from_file_location(name, HERE / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope='session')
def open_clip(libraries):
  libraries.allow_torchvision()
  return pytest.importorskip('open_clip', exc_type=ImportError)


@pytest.fixture(scope='session')
def transformers(libraries):
  libraries.allow_torchvision()
  return pytest.importorskip('transformers')


@pytest.fixture(scope='session')
def processors(request):
  """transformers for what needs no torch."""
  if importlib.util.find_spec('torch') is not None:
    return request.getfixturevalue('transformers')
  return importlib.import_module('transformers')
