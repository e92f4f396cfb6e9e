"""Starting weights from other programs, strictly matched to our parameters."""

import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from harma_jax.errors import UserError
from harma_jax.model.additions import ADDED
from harma_jax.model.clip import Clip
from harma_jax.model.sizes import SIZES, Size
from harma_jax.weights.names import LAYOUTS, Name, names_of, paths_of, take, tree_of
from harma_jax.weights.sources import Source

QUICK_GELU = '-quickgelu'


def load_weights(source: Source, fresh: dict, *, model: Clip) -> dict:
  """`fresh` with the weights of a source put in, read one after the other.

  Args:
    source: weights of another program.
    fresh: parameters of `model`; shapes will do for what the source has. Adapters that
      it does not have stay as they are.
    model: whose size the weights must have. A position table of another image size is
      interpolated, as OpenCLIP does it.

  Raises:
    UserError: tensors that do not fit; lists missing and unexpected ones.
  """
  shapes = paths_of(fresh)
  names = _names(shapes, source, model=model)
  leaves = {}
  for path, leaf in take(names, source.tensors, source_name=str(source.path)):
    fitted = _fit(path, leaf, shape=shapes[path].shape)
    placed = jnp.asarray(fitted, shapes[path].dtype)
    leaves[path] = jax.block_until_ready(placed)  # then the host's copy can go
  logging.info(
    '%s: all %d tensors (%s) became %d parameters, %s adapters',
    *(source.path, len(source.tensors), source.format, len(leaves)),
    adapters_of(source, model=model),
  )
  _warn_of_padding(source, model)
  return graft(fresh, tree_of(leaves), source_name=str(source.path))


def _warn_of_padding(source: Source, model: Clip) -> None:
  trained = source.settings.get('adapter_padding', 'none')  # as the original HarMA
  if has_adapters(source) and trained != model.adapter_padding:
    logging.warning(
      '%s: its adapters were trained with model.adapter_padding=%s, here it is %s: '
      'their text features are others. Set --config.model.adapter_padding=%s to keep '
      'them.',
      *(source.path, trained, model.adapter_padding, trained),
    )


def warn_of_cleaning(trained: str, *, cleaning: str, source: object) -> None:
  """Warns where captions were cleaned in another way in training than here.

  Args:
    trained: how they were; '' where nothing tells.
    cleaning: how they are here.
    source: of the weights.
  """
  if trained and trained != cleaning:
    logging.warning(
      '%s: its captions were cleaned with data.cleaning=%s in training, here it is %s: '
      'some text features are others. Set --config.data.cleaning=%s to keep them.',
      *(source, trained, cleaning, trained),
    )


def graft(fresh: dict, source: dict, *, source_name: str) -> dict:
  """`fresh` with the leaves of `source` in place of its own, dtypes kept.

  Adapters that `source` has none of stay as they are; so may the temperature.

  Raises:
    UserError: leaves are missing, unexpected or of another shape.
  """
  fresh, given = paths_of(fresh), paths_of(source)
  has_adapters = any(is_new(path) for path in given)
  optional = {
    path
    for path in fresh
    if path == 'temperature' or (is_new(path) and not has_adapters)
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
  return tree_of(
    {
      path: jnp.asarray(given.get(path, leaf), leaf.dtype)
      for path, leaf in fresh.items()
    }
  )


def is_new(path: str) -> bool:
  """Whether a parameter is an adapter's, or a gate of one, and no plain CLIP has it."""
  return re.search(ADDED, path) is not None


def has_adapters(source: Source) -> bool:
  """Whether a source has HarMA's adapters."""
  return any('mmadapter' in name for name in source.tensors)


def adapters_of(source: Source, *, model: Clip) -> str:
  """Where the adapters of a model come from: `its own`, `fresh`, or `no`."""
  if model.adapter is None:
    return 'no'
  return 'its own' if has_adapters(source) else 'fresh'


def recognise(source: Source) -> tuple[str, int]:
  """The name of the size that a source has, and its image size in pixels.

  Raises:
    UserError: no known size is like it, or nothing tells the activation.
  """
  shown = shown_by(source)
  known = [
    name
    for name, size in SIZES.items()
    if _fits(size, shown) and not _differing(size, source.settings)
  ]
  known.sort(key=lambda name: SIZES[name].image_size != shown['pixels'])
  by_activation = {SIZES[name].activation: name for name in reversed(known)}
  if not known:
    found = _listed({**shown, **source.settings})
    raise UserError(
      f'model.size: expected weights of one of {", ".join(SIZES)}; found {found} in '
      f'{source.path}. Take weights of one of these, or add theirs in '
      'harma_jax/model/sizes.py.'
    )
  if source.activation is None:
    raise UserError(_which_activation(source, by_activation))
  return by_activation[source.activation], shown['pixels']


def _which_activation(source: Source, by_activation: dict[str, str]) -> str:
  users = {
    'gelu': 'most OpenCLIP models: LAION, DataComp, and what was tuned from them',
    'quick_gelu': 'OpenAI, and what was tuned from it: GeoRSCLIP, RemoteCLIP',
  }
  choices = ' or '.join(
    f'--config.model.size={by_activation[activation]} for {activation} ({who})'
    for activation, who in users.items()
    if activation in by_activation
  )
  return (
    'model.size: expected to know the activation, which tensors do not show; found no '
    f'config beside {source.path} that tells it. Set {choices}.'
  )


def check_settings(source: Source, size: Size) -> None:
  """Checks a size against what stands beside the tensors.

  Raises:
    UserError: it has another activation, or other heads.
  """
  found = _differing(size, source.settings)
  if found:
    expected = {name: source.settings[name] for name in found}
    raise UserError(
      f'model.size: expected {_listed(expected)}, as {source.told_by} tells of '
      f'{source.path}; found a size with {_listed(found)}. Leave model.size=auto, or '
      f'take the size with {QUICK_GELU} behind its name for quick_gelu.'
    )


def _differing(size: Size, settings: Mapping) -> dict[str, str | int]:
  """What a size has otherwise than `Source.settings`."""
  ours = {
    'activation': size.activation,
    'image_heads': size.image.heads,
    'text_heads': size.text.heads,
  }
  return {
    name: ours[name] for name in ours if settings.get(name, ours[name]) != ours[name]
  }


def _listed(settings: dict[str, str | int]) -> str:
  return ', '.join(f'{name}={value}' for name, value in settings.items())


def _names(shapes: dict, source: Source, *, model: Clip) -> list[Name]:
  takes_new = has_adapters(source)
  # The largest first: the second copy that each needs is then made while there is room.
  paths = sorted(shapes, key=lambda path: -shapes[path].size)
  paths = [path for path in paths if takes_new or not is_new(path)]
  if 'temperature' not in LAYOUTS[source.layout].outside:
    paths.remove('temperature')
  return names_of(
    paths,
    layout=source.layout,
    image_layers=model.size.image.layers,
    text_layers=model.size.text.layers,
    shared_adapter=model.shared_adapter,
  )


def shown_by(source: Source) -> dict[str, int]:
  """The numbers of a size that tensors show.

  Raises:
    UserError: a tensor that shows one is missing or has another rank.
  """
  width, _, patch, _ = _shape(source, 'image/patch_embedding/kernel', rank=4)
  positions, _ = _shape(source, 'image/position_embedding', rank=2)
  context, text_width = _shape(source, 'text/position_embedding', rank=2)
  projection = _shape(source, 'image/projection', rank=2)
  layout = LAYOUTS[source.layout]
  return {
    'pixels': patch * round((positions - 1) ** 0.5),
    'patch': patch,
    'image_width': width,
    'image_layers': _depth(source, layout.blocks['image']),
    'text_width': text_width,
    'text_layers': _depth(source, layout.blocks['text']),
    'embedding': projection[0 if 'image/projection' in layout.transposed else 1],
    'context': context,
  }


def _shape(source: Source, path: str, *, rank: int) -> tuple[int, ...]:
  name = LAYOUTS[source.layout].outside[path]
  shape = source.tensors[name].shape if name in source.tensors else None
  if shape is None or len(shape) != rank:
    raise UserError(
      f'Expected a vision-transformer CLIP, with {name} of {rank} axes, in '
      f'{source.path}; found {shape or "no such tensor"}. Take other weights.'
    )
  return shape


def _depth(source: Source, blocks: str) -> int:
  found = (re.match(rf'{re.escape(blocks)}\.(\d+)\.', name) for name in source.tensors)
  return 1 + max((int(match[1]) for match in found if match), default=-1)


def _fits(size: Size, shown: dict[str, int]) -> bool:
  """Whether a size has all numbers but `pixels`: position tables are interpolated."""
  numbers = {
    'pixels': shown['pixels'],
    'patch': size.patch_size,
    'image_width': size.image.width,
    'image_layers': size.image.layers,
    'text_width': size.text.width,
    'text_layers': size.text.layers,
    'embedding': size.embedding,
    'context': size.context_length,
  }
  return numbers == shown


def _fit(path: str, leaf: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
  """The leaf, interpolated where it is a square position table of another side."""
  is_table = path == 'image/position_embedding' and leaf.ndim == 2
  if not is_table or leaf.shape == shape or leaf.shape[1:] != shape[1:]:
    return leaf
  old, new = len(leaf) - 1, shape[0] - 1
  if round(old**0.5) ** 2 != old:
    return leaf
  logging.info('interpolating the positions of %d patches to %d, bicubic', old, new)
  return interpolate_positions(leaf, positions=shape[0])


def interpolate_positions(table: np.ndarray, *, positions: int) -> np.ndarray:
  """A position table for another number of patches, bicubic as in OpenCLIP.

  Args:
    table: f32[1 + n * n, width], the class token's row first.
    positions: 1 + m * m.

  Returns:
    f32[positions, width].
  """
  width = table.shape[1]
  old, new = (round((count - 1) ** 0.5) for count in (len(table), positions))
  grid = np.asarray(table[1:], np.float32).reshape(old, old, width)
  grid = jax.image.resize(grid, (new, new, width), 'bicubic', antialias=True)
  return np.concatenate([table[:1], np.asarray(grid).reshape(-1, width)])


def _some(names: list[str], *, most: int = 4) -> str:
  more = f' and {len(names) - most} more' if len(names) > most else ''
  return (', '.join(names[:most]) or 'none') + more
