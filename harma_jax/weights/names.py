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
from harma_jax.weights.layouts import LAYOUTS, Layout


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
    keeps_kernels: as in `Layout`.
    leading: axes of length 1 that theirs has before ours.
    shares: how wide the parts are; empty: all equally.
    upper: where the parts are two tables, the rows that count of the first; else 0.
  """

  path: str
  tensors: tuple[tuple[str, ...], ...]
  stacked: bool
  transposed: bool
  aliases: tuple[tuple[str, ...], ...] = ()
  keeps_kernels: bool = False
  leading: int = 0
  shares: tuple[int, ...] = ()
  upper: int = 0

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
      for name, part in zip(names, self._parts(layer, len(names)), strict=True):
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
    if len(layers) == 1:
      return layers[0]
    if not self.upper:
      return np.concatenate(layers, axis=-1)
    above, below = layers
    if above.shape != below.shape:
      raise UserError(
        f'Expected {" and ".join(parts)} to be two tables of one shape; found '
        f'{above.shape} and {below.shape}. Take the weights as they were published.'
      )
    return np.concatenate([above[: self.upper], below[self.upper :]])

  def _parts(self, layer: np.ndarray, count: int) -> list[np.ndarray]:
    if count == 1 or self.upper:
      return [layer] * count
    shares = np.cumsum(self.shares or [1] * count)
    return np.split(layer, shares[:-1] * layer.shape[-1] // shares[-1], axis=-1)

  def _to_ours(self, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if set(array.shape[: self.leading]) <= {1}:  # else the shape does not fit
      array = array.reshape(array.shape[self.leading :])
    if self.path == PATCHES:
      if not self.keeps_kernels:  # [width, 3, p, p]
        array = array.transpose(2, 3, 1, 0)
      return array.reshape(-1, array.shape[-1])  # [p * p * 3, width]
    return array.T if self.transposed else array

  def _to_theirs(self, array: np.ndarray, *, patch: int) -> np.ndarray:
    if self.path == PATCHES:
      array = array.reshape(patch, patch, -1, array.shape[1])
      return array if self.keeps_kernels else array.transpose(3, 2, 0, 1)
    array = array.T if self.transposed else array
    return array.reshape((1,) * self.leading + array.shape)


PATCHES = 'image/patch_embedding/kernel'


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
    layout: of `layouts.LAYOUTS`.
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
  is_kernel = path.endswith('/kernel') and not layout.keeps_kernels
  transposed = is_kernel or path in layout.transposed
  if path in layout.outside:
    return Name(
      path=path,
      tensors=(layout.outside[path],),
      stacked=False,
      transposed=transposed,
      keeps_kernels=layout.keeps_kernels,
      leading=layout.leading.get(path, 0),
      shares=layout.shares.get(path, ()),
      upper=layout.upper.get(path, 0),
    )
  tower, leaf = _place(path)
  if leaf not in layout.block_of(tower):
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
    tuple(base.format(layer) + part for part in layout.block_of(tower)[leaf])
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
