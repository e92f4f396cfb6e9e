"""One table between our parameters and the names that other programs give them.

Loading and export both read it, so that a round trip is right by construction.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from flax import traverse_util

from harma_jax.errors import UserError
from harma_jax.model.clip import shared_layer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """How a program names the weights of CLIP, and how it lays them out.

  Attributes:
    outside: our path -> their name, for what is in no block.
    blocks: tower -> what the names of its blocks begin with.
    block: our path within a block -> their names; several where ours holds theirs side
      by side along its last axis.
    transposed: our paths whose matrices they keep transposed, besides kernels.
  """

  outside: dict[str, str]
  blocks: dict[str, str]
  block: dict[str, tuple[str, ...]]
  transposed: frozenset[str] = frozenset()


_DENSE = {'kernel': 'weight', 'bias': 'bias'}
_NORM = {'scale': 'weight', 'bias': 'bias'}
_ATTENTION = {
  'qkv/kernel': 'in_proj_weight',
  'qkv/bias': 'in_proj_bias',
  'out/kernel': 'out_proj.weight',
  'out/bias': 'out_proj.bias',
}


def _under(ours: str, theirs: str, names: dict[str, str]) -> dict[str, str]:
  return {f'{ours}/{mine}': f'{theirs}.{name}' for mine, name in names.items()}


def _single(names: dict[str, str]) -> dict[str, tuple[str, ...]]:
  return {mine: (name,) for mine, name in names.items()}


_OPEN_CLIP = Layout(
  outside={
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
    'logit_scale': 'logit_scale',
  },
  blocks={'image': 'visual.transformer.resblocks', 'text': 'transformer.resblocks'},
  block=_single(
    {
      **_under('ln_1', 'ln_1', _NORM),
      **_under('attention', 'attn', _ATTENTION),
      **_under('ln_2', 'ln_2', _NORM),
      **_under('mlp/up', 'mlp.c_fc', _DENSE),
      **_under('mlp/down', 'mlp.c_proj', _DENSE),
    }
  ),
)
_SHARED = {
  'shared_gate': 'gate1',
  **_under('down', 'l1', _DENSE),
  **_under('attention', 'multihead_attention1', _ATTENTION),
  **_under('up', 'l2', _DENSE),
}
# OpenCLIP's names behind `model.`, its adapters beside, and its own temperature.
_HARMA = Layout(
  outside={
    **{path: f'model.{name}' for path, name in _OPEN_CLIP.outside.items()},
    'temperature': 'temp',
  },
  blocks={tower: f'model.{name}' for tower, name in _OPEN_CLIP.blocks.items()},
  block={
    **_OPEN_CLIP.block,
    **_single(
      {
        'block_gate': 'gate1',
        'adapter/adapter_gate': 'mmadapter.gate1',
        **_under('adapter/down', 'mmadapter.img_proj_down', _DENSE),
        **_under('adapter/attention', 'mmadapter.multihead_attention', _ATTENTION),
        **_under('adapter/up', 'mmadapter.img_proj_up', _DENSE),
        **{
          f'shared_adapter/{path}': f'mmadapter.BiShareAdapterxx.{name}'
          for path, name in _SHARED.items()
        },
      }
    ),
  },
)
_HUGGING_FACE = Layout(
  outside={
    'image/class_embedding': 'vision_model.embeddings.class_embedding',
    'image/position_embedding': 'vision_model.embeddings.position_embedding.weight',
    'image/patch_embedding/kernel': 'vision_model.embeddings.patch_embedding.weight',
    # The library spells it so.
    **_under('image/ln_pre', 'vision_model.pre_layrnorm', _NORM),
    **_under('image/ln_post', 'vision_model.post_layernorm', _NORM),
    'image/projection': 'visual_projection.weight',
    'text/token_embedding': 'text_model.embeddings.token_embedding.weight',
    'text/position_embedding': 'text_model.embeddings.position_embedding.weight',
    **_under('text/ln_final', 'text_model.final_layer_norm', _NORM),
    'text/projection': 'text_projection.weight',
    'logit_scale': 'logit_scale',
  },
  blocks={
    'image': 'vision_model.encoder.layers',
    'text': 'text_model.encoder.layers',
  },
  block={
    **{
      f'attention/qkv/{mine}': tuple(f'self_attn.{part}_proj.{name}' for part in 'qkv')
      for mine, name in _DENSE.items()
    },
    **_single(
      {
        **_under('ln_1', 'layer_norm1', _NORM),
        **_under('attention/out', 'self_attn.out_proj', _DENSE),
        **_under('ln_2', 'layer_norm2', _NORM),
        **_under('mlp/up', 'mlp.fc1', _DENSE),
        **_under('mlp/down', 'mlp.fc2', _DENSE),
      }
    ),
  },
  transposed=frozenset({'image/projection', 'text/projection'}),
)
LAYOUTS = {'open_clip': _OPEN_CLIP, 'harma': _HARMA, 'huggingface': _HUGGING_FACE}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Name:
  """One of our leaves and the tensors it is made of.

  Attributes:
    path: our path, joined by `/`.
    tensors: their names, a tuple for each layer where ours is a stack of layers, else
      one: of the parts that lie side by side along our last axis, mostly a single one.
    stacked: whether ours has a leading layer axis.
    transposed: whether they keep the matrix transposed.
    aliases: further names of each layer's tensor; empty without any.
  """

  path: str
  tensors: tuple[tuple[str, ...], ...]
  stacked: bool
  transposed: bool
  aliases: tuple[tuple[str, ...], ...] = ()

  @property
  def wanted(self) -> list[str]:
    """All names but aliases."""
    return [name for parts in self.tensors for name in parts]

  def to_ours(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Builds our leaf, f32 whatever they are, from their tensors.

    Holds one layer at a time besides the leaf.

    Raises:
      UserError: an alias holds another tensor than the name it stands beside, or the
        layers of a stack differ in shape.
    """
    for name, alias in self.aliased():
      if alias in arrays and not np.array_equal(arrays[name], arrays[alias]):
        raise UserError(
          f'Expected {name} and {alias} to be one shared tensor; found different '
          'values. Set model.shared_adapter as the weights were made.'
        )
    first = self._layer(arrays, self.tensors[0])
    if not self.stacked:
      return np.asarray(first, np.float32)
    leaf = np.empty((len(self.tensors), *first.shape), np.float32)
    for index, parts in enumerate(self.tensors):
      layer = self._layer(arrays, parts) if index else first
      if layer.shape != first.shape:
        raise UserError(
          f'Expected {self.wanted[0]} to have one shape in all layers; '
          f'found {first.shape}, and {layer.shape} in layer {index}. '
          'Take weights that were not pruned.'
        )
      leaf[index] = layer
    return leaf

  def to_theirs(self, leaf: np.ndarray, *, patch: int) -> dict[str, np.ndarray]:
    """Their tensors, aliases included, from our leaf; `patch` is the patch side."""
    leaf = np.asarray(leaf)
    tensors = {}
    for layer, names in zip(
      leaf if self.stacked else [leaf], self.tensors, strict=True
    ):
      parts = np.split(layer, len(names), axis=-1) if len(names) > 1 else [layer]
      for name, part in zip(names, parts, strict=True):
        tensors[name] = self._to_theirs(part, patch=patch)
    return tensors | {alias: tensors[name] for name, alias in self.aliased()}

  def aliased(self) -> list[tuple[str, str]]:
    """Pairs of a name and an alias of it."""
    groups = zip(self.tensors, self.aliases, strict=True) if self.aliases else ()
    return [(names[0], alias) for names, aliases in groups for alias in aliases]

  def _layer(
    self, arrays: Mapping[str, np.ndarray], parts: tuple[str, ...]
  ) -> np.ndarray:
    layers = [self._to_ours(arrays[name]) for name in parts]
    return np.concatenate(layers, axis=-1) if len(layers) > 1 else layers[0]

  def _to_ours(self, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if self.path == _PATCHES:  # [width, 3, p, p] -> [p * p * 3, width]
      return array.transpose(2, 3, 1, 0).reshape(-1, array.shape[0])
    return array.T if self.transposed else array

  def _to_theirs(self, array: np.ndarray, *, patch: int) -> np.ndarray:
    if self.path == _PATCHES:
      return array.reshape(patch, patch, -1, array.shape[1]).transpose(3, 2, 0, 1)
    return array.T if self.transposed else array


_PATCHES = 'image/patch_embedding/kernel'


def names_of(
  paths: Iterable[str],
  *,
  layout: str,
  image_layers: int,
  text_layers: int,
  shared_adapter: str = 'none',
) -> list[Name]:
  """A program's names of our leaves.

  Args:
    paths: our paths, as of a `Clip`'s parameters; only the layout `harma` knows those
      of adapters and the temperature.
    layout: `open_clip`, `huggingface` or `harma`.
    image_layers: blocks of the image tower.
    text_layers: blocks of the text tower.
    shared_adapter: `text`, `both` or `none`; with `both` the shared tensors go by the
      names of both towers.

  Raises:
    UserError: a path that the table does not know.
  """
  layers = {'image': image_layers, 'text': text_layers}
  both = shared_adapter == 'both'
  return [_name(path, LAYOUTS[layout], layers=layers, both=both) for path in paths]


def take(
  names: Iterable[Name],
  arrays: Mapping[str, np.ndarray],
  *,
  source_name: str = 'the weights',
) -> Iterator[tuple[str, np.ndarray]]:
  """Our leaves f32 with their paths, one after the other, made of tensors of `arrays`.

  Raises:
    UserError: tensors are missing, or no name asks for some that `arrays` has: a model
      without them would compute something else. Lists both.
  """
  names = list(names)
  wanted = {tensor for name in names for tensor in name.wanted}
  aliases = {alias for name in names for _, alias in name.aliased()}
  missing = sorted(wanted - set(arrays))
  unexpected = sorted(set(arrays) - wanted - aliases)
  if missing or unexpected:
    raise UserError(
      f'Expected {len(wanted)} tensors in {source_name}; '
      f'{len(missing)} are missing: {_some(missing)}; '
      f'{len(unexpected)} are unexpected: {_some(unexpected)}. '
      'Set model.* as the weights were made, adapters included.'
    )
  return ((name.path, name.to_ours(arrays)) for name in names)


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


def tree_of(leaves: Mapping[str, np.ndarray]) -> dict:
  """The nested dict of leaves by path."""
  return traverse_util.unflatten_dict(dict(leaves), sep='/')


def _name(path: str, layout: Layout, *, layers: dict[str, int], both: bool) -> Name:
  transposed = path.endswith('/kernel') or path in layout.transposed
  if path in layout.outside:
    tensors = ((layout.outside[path],),)
    return Name(path=path, tensors=tensors, stacked=False, transposed=transposed)
  tower, leaf = _place(path)
  if leaf not in layout.block:
    raise UserError(f'The table of names has no entry for the parameter {path}.')
  if both and tower == 'shared':
    return _shared_name(path, layout, layers=layers, transposed=transposed)
  tower = 'text' if tower == 'shared' else tower
  tensors = _layers(layout, tower, leaf, depth=layers[tower])
  return Name(path=path, tensors=tensors, stacked=True, transposed=transposed)


def _place(path: str) -> tuple[str, str]:
  """The tower of a path, or `shared`, and its path within a block."""
  if match := re.fullmatch(r'(image|text)/transformer/blocks/(.+)', path):
    return match[1], match[2]
  return 'shared', path


def _layers(
  layout: Layout, tower: str, leaf: str, *, depth: int
) -> tuple[tuple[str, ...], ...]:
  base = layout.blocks[tower]
  return tuple(
    tuple(f'{base}.{layer}.{part}' for part in layout.block[leaf])
    for layer in range(depth)
  )


def _shared_name(
  path: str, layout: Layout, *, layers: dict[str, int], transposed: bool
) -> Name:
  """Shared adapters of both towers: the layers that share one are its names."""
  groups = [[] for _ in range(min(layers.values()))]
  for tower, depth in layers.items():
    for layer, (tensor,) in enumerate(_layers(layout, tower, path, depth=depth)):
      groups[shared_layer(layer, n_shared=len(groups), depth=depth)].append(tensor)
  return Name(
    path=path,
    tensors=tuple((group[0],) for group in groups),
    stacked=True,
    transposed=transposed,
    aliases=tuple(tuple(group[1:]) for group in groups),
  )


def _some(names: list[str], *, most: int = 8) -> str:
  more = f' and {len(names) - most} more' if len(names) > most else ''
  return (', '.join(names[:most]) or 'none') + more
