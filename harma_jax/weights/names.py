"""One table between our parameter tree and the names of OpenCLIP and of HarMA.

Loading and export both read it, so that a round trip is right by construction. HarMA's
names are OpenCLIP's behind `model.`, with its adapters beside, and `temp`.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping

import numpy as np
from flax import traverse_util

from harma_jax.errors import UserError
from harma_jax.model.clip import shared_layer

HARMA_PREFIX = 'model.'

# What such files hold beside weights. The logit scale is a logarithm that multiplies; a
# run starts at its own temperature. The others are constants in OpenAI's exports.
_IGNORED = {
  prefix + name
  for prefix in ('', HARMA_PREFIX)
  for name in (
    'logit_scale',
    'attn_mask',
    'input_resolution',
    'context_length',
    'vocab_size',
  )
}

# Our path -> their name, within a block and outside; `.weight` matrices are transposed.
_ATTENTION = {
  'qkv/kernel': 'in_proj_weight',
  'qkv/bias': 'in_proj_bias',
  'out/kernel': 'out_proj.weight',
  'out/bias': 'out_proj.bias',
}
_DENSE = {'kernel': 'weight', 'bias': 'bias'}
_NORM = {'scale': 'weight', 'bias': 'bias'}


def _under(ours: str, theirs: str, names: dict[str, str]) -> dict[str, str]:
  return {f'{ours}/{mine}': f'{theirs}.{name}' for mine, name in names.items()}


_BLOCK = {
  **_under('ln_1', 'ln_1', _NORM),
  **_under('attention', 'attn', _ATTENTION),
  **_under('ln_2', 'ln_2', _NORM),
  **_under('mlp/up', 'mlp.c_fc', _DENSE),
  **_under('mlp/down', 'mlp.c_proj', _DENSE),
  'block_gate': 'gate1',
  'adapter/adapter_gate': 'mmadapter.gate1',
  **_under('adapter/down', 'mmadapter.img_proj_down', _DENSE),
  **_under('adapter/attention', 'mmadapter.multihead_attention', _ATTENTION),
  **_under('adapter/up', 'mmadapter.img_proj_up', _DENSE),
}
_SHARED = {
  'shared_gate': 'gate1',
  **_under('down', 'l1', _DENSE),
  **_under('attention', 'multihead_attention1', _ATTENTION),
  **_under('up', 'l2', _DENSE),
}
_OUTSIDE = {
  'image/class_embedding': 'visual.class_embedding',
  'image/position_embedding': 'visual.positional_embedding',
  'image/patch_embedding/kernel': 'visual.conv1.weight',
  **_under('image/ln_pre', 'visual.ln_pre', _NORM),
  **_under('image/ln_post', 'visual.ln_post', _NORM),
  'image/projection': 'visual.proj',
  'text/token_embedding': 'token_embedding.weight',
  'text/position_embedding': 'positional_embedding',
  **_under('text/ln_final', 'ln_final', _NORM),
  'text/projection': 'text_projection',
}
_BLOCKS = {'image': 'visual.transformer.resblocks', 'text': 'transformer.resblocks'}
_SHARE = 'mmadapter.BiShareAdapterxx'
_TEMPERATURE = {'temperature': 'temp'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Name:
  """One of our leaves and the tensors it is made of.

  Attributes:
    path: our path, joined by `/`.
    tensors: their names: one, or one per layer where ours is a stack of layers.
    stacked: whether ours has a leading layer axis.
    aliases: further names of each tensor, in the same order; empty without any.
  """

  path: str
  tensors: tuple[str, ...]
  stacked: bool
  aliases: tuple[tuple[str, ...], ...] = ()

  def to_ours(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Builds our leaf from their tensors.

    Raises:
      UserError: an alias holds another tensor than the name it stands beside, or the
        layers of a stack differ in shape.
    """
    for name, alias in self._aliased():
      if alias in arrays and not np.array_equal(arrays[name], arrays[alias]):
        raise UserError(
          f'Expected {name} and {alias} to be one shared tensor; '
          'found different values.'
        )
    shapes = {np.shape(arrays[name]) for name in self.tensors}
    if len(shapes) > 1:
      raise UserError(
        f'Expected {self.tensors[0]} to have one shape in all layers; '
        f'found {", ".join(map(str, sorted(shapes)))}.'
      )
    parts = [_to_ours(self.path, np.asarray(arrays[name])) for name in self.tensors]
    return np.stack(parts) if self.stacked else parts[0]

  def to_theirs(self, leaf: np.ndarray, *, patch: int) -> dict[str, np.ndarray]:
    """Their tensors, aliases included, from our leaf; `patch` is the patch side."""
    parts = list(leaf) if self.stacked else [leaf]
    tensors = [_to_theirs(self.path, np.asarray(part), patch=patch) for part in parts]
    named = dict(zip(self.tensors, tensors, strict=True))
    return named | {alias: named[name] for name, alias in self._aliased()}

  def _aliased(self) -> list[tuple[str, str]]:
    groups = zip(self.tensors, self.aliases, strict=True) if self.aliases else ()
    return [(name, alias) for name, aliases in groups for alias in aliases]


def harma_names(
  paths: Iterable[str], *, image_layers: int, text_layers: int, shared_adapter: str
) -> list[Name]:
  """HarMA's names of our leaves.

  Args:
    paths: our paths, as of a `Clip`'s parameters.
    image_layers: blocks of the image tower.
    text_layers: blocks of the text tower.
    shared_adapter: `text`, `both` or `none`; with `both` the shared tensors go by the
      names of both towers.

  Raises:
    UserError: a path that the table does not know.
  """
  layers = {'image': image_layers, 'text': text_layers}
  return [_name(path, layers=layers, both=shared_adapter == 'both') for path in paths]


def openclip_names(paths: Iterable[str], **settings) -> list[Name]:
  """As `harma_names`, for plain CLIP: no prefix, no temperature of HarMA's kind."""
  return [
    dataclasses.replace(
      name, tensors=tuple(t.removeprefix(HARMA_PREFIX) for t in name.tensors)
    )
    for name in harma_names(paths, shared_adapter='none', **settings)
  ]


def take(
  names: Iterable[Name], arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Our leaves by path, each made of tensors of `arrays`.

  Raises:
    UserError: tensors are missing, or no name asks for some that `arrays` has: a model
      without them would compute something else. Lists both.
  """
  names = list(names)
  wanted = {tensor for name in names for tensor in name.tensors}
  aliases = {alias for name in names for group in name.aliases for alias in group}
  missing = sorted(wanted - set(arrays))
  unexpected = sorted(set(arrays) - wanted - aliases - _IGNORED)
  if missing or unexpected:
    raise UserError(
      f'Expected {len(wanted)} tensors; {len(missing)} are missing: {_some(missing)}; '
      f'{len(unexpected)} are unexpected: {_some(unexpected)}. '
      'Set model.* as the weights were made, adapters included.'
    )
  return {name.path: name.to_ours(arrays) for name in names}


def give(
  names: Iterable[Name], leaves: Mapping[str, np.ndarray], *, patch: int
) -> dict[str, np.ndarray]:
  """Their tensors by name, from our leaves by path."""
  tensors = {}
  for name in names:
    tensors |= name.to_theirs(leaves[name.path], patch=patch)
  return tensors


def paths_of(params: dict) -> dict[str, np.ndarray]:
  """The leaves of a nested dict by path."""
  return traverse_util.flatten_dict(params, sep='/')


def _name(path: str, *, layers: dict[str, int], both: bool) -> Name:
  if path in _TEMPERATURE:
    return Name(path=path, tensors=(_TEMPERATURE[path],), stacked=False)
  if path in _OUTSIDE:
    return Name(path=path, tensors=(HARMA_PREFIX + _OUTSIDE[path],), stacked=False)
  if match := re.fullmatch(r'(image|text)/transformer/blocks/(.+)', path):
    tower, leaf = match.groups()
    return _stack(path, tower, _BLOCK.get(leaf), layers=layers)
  if match := re.fullmatch(r'shared_adapter/(.+)', path):
    leaf = f'{_SHARE}.{_SHARED[match[1]]}'
    if both:
      return _shared_stack(path, leaf, layers=layers)
    return _stack(path, 'text', leaf, layers=layers)
  raise UserError(f'The table of names has no entry for the parameter {path}.')


def _stack(path: str, tower: str, leaf: str, *, layers: dict[str, int]) -> Name:
  base = HARMA_PREFIX + _BLOCKS[tower]
  tensors = tuple(f'{base}.{layer}.{leaf}' for layer in range(layers[tower]))
  return Name(path=path, tensors=tensors, stacked=True)


def _shared_stack(path: str, leaf: str, *, layers: dict[str, int]) -> Name:
  """Shared adapters of both towers: the layers that share one are its names."""
  groups = [[] for _ in range(min(layers.values()))]
  for tower, depth in layers.items():
    for layer, tensor in enumerate(_stack(path, tower, leaf, layers=layers).tensors):
      groups[shared_layer(layer, n_shared=len(groups), depth=depth)].append(tensor)
  return Name(
    path=path,
    tensors=tuple(group[0] for group in groups),
    stacked=True,
    aliases=tuple(tuple(group[1:]) for group in groups),
  )


def _to_ours(path: str, array: np.ndarray) -> np.ndarray:
  if path == 'image/patch_embedding/kernel':  # [width, 3, p, p] -> [p * p * 3, width]
    return array.transpose(2, 3, 1, 0).reshape(-1, array.shape[0])
  return array.T if path.endswith('/kernel') else array


def _to_theirs(path: str, array: np.ndarray, *, patch: int) -> np.ndarray:
  if path == 'image/patch_embedding/kernel':
    return array.reshape(patch, patch, -1, array.shape[1]).transpose(3, 2, 0, 1)
  return array.T if path.endswith('/kernel') else array


def _some(names: list[str], *, most: int = 8) -> str:
  more = f' and {len(names) - most} more' if len(names) > most else ''
  return (', '.join(names[:most]) or 'none') + more
