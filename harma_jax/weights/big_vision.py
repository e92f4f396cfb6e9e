"""big_vision's files .npz as plain matrices, a tensor for each layer."""

import re

import numpy as np

from harma_jax.weights.tensors import Lazy

MARK = 'params/img/MAPHead_0/probe'
_SCANNED = re.compile(r'(.*/encoderblock)/(.+)')
_BY_HEAD = re.compile(r'.*/MultiHeadDotProductAttention_0/(query|key|value|out)/(\w+)')


def is_big_vision(tensors: Lazy) -> bool:
  """Whether names are those of SigLIP's published files, or of their parameters."""
  return MARK in tensors or MARK.removeprefix('params/') in tensors


def plain(tensors: Lazy) -> Lazy:
  """What the layout `big_vision` names, out of a file.

  Layers that were scanned are told apart, heads lie side by side along one axis, and
  what is no parameter (an optimizer's state) is left out.
  """
  if MARK not in tensors:
    tensors = tensors.renamed('^(img/|txt/|t$|b$)', r'params/\1')
  places = {}
  for name in tensors:
    if not name.startswith('params/'):
      continue
    if match := _SCANNED.fullmatch(name):
      for layer in range(len(tensors[name])):
        places[f'{match[1]}_{layer}/{match[2]}'] = name, layer
    else:
      places[name] = name, None

  def read(name):
    whole, layer = places[name]
    return _flat(name, tensors[whole] if layer is None else tensors[whole][layer])

  return Lazy({name: name for name in places}, read, cleaning=tensors.cleaning)


def _flat(name: str, array: np.ndarray) -> np.ndarray:
  """Heads by width of a head as one axis: inputs of `out`, outputs of the others."""
  match = _BY_HEAD.fullmatch(name)
  if not match:
    return array
  part, leaf = match.groups()
  if leaf == 'bias':
    return array.reshape(-1)
  rows = -1 if part == 'out' else len(array)
  return array.reshape(rows, array.shape[-1] if part == 'out' else -1)
