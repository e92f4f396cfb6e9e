"""Starting weights from other programs, strictly matched to our parameters."""

import dataclasses
import os
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from harma_jax.errors import UserError
from harma_jax.model.additions import ADDED
from harma_jax.model.clip import Clip
from harma_jax.model.sizes import Size
from harma_jax.weights.layouts import LAYOUTS
from harma_jax.weights.names import Name, names_of, paths_of, take, tree_of
from harma_jax.weights.recognise import check_family
from harma_jax.weights.sources import Source


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
  check_family(source, model.size)
  shapes = paths_of(fresh)
  names = _names(shapes, source, model=model)
  leaves = {}
  for path, leaf in take(names, source.tensors, source_name=str(source.path)):
    first = model.size.family.class_token
    fitted = _fit(path, leaf, shape=shapes[path].shape, class_rows=int(first))
    placed = jnp.asarray(fitted, shapes[path].dtype)
    leaves[path] = jax.block_until_ready(placed)  # then the host's copy can go
  logging.info(
    '%s: all %d tensors (%s) became %d parameters, %s adapters',
    *(source.path, len(source.tensors), source.format, len(leaves)),
    adapters_of(source, model=model),
  )
  _warn_of_padding(source, model)
  if model.size.logit_bias and 'temperature' not in leaves:
    # The bias was trained with its scale: one without the other means little.
    leaves['temperature'] = jnp.exp(-leaves['logit_scale'])
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


def warn_of_preprocessing(source: Source, size: Size) -> None:
  """Warns where the config of weights tells of another resize or other constants."""
  told, here = source.preprocessing, size.preprocessing
  differing = {
    name: value
    for name, value in dataclasses.asdict(told or here).items()
    if value != getattr(here, name)
  }
  if differing:
    logging.warning(
      '%s: its images had %s in training, here they have %s. To do as it was trained, '
      'leave model.size=auto, or set %s.',
      source.path,
      ', '.join(f'{name} {value}' for name, value in differing.items()),
      ', '.join(f'{name} {getattr(here, name)}' for name in differing),
      ' '.join(f'--config.model.{name}="{value}"' for name, value in differing.items()),
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
  check_leaves(
    given,
    {path: leaf for path, leaf in fresh.items() if path not in optional - set(given)},
    source_name=source_name,
    remedy='Set model.* as the weights were made.',
  )
  return tree_of(
    {
      path: jnp.asarray(given.get(path, leaf), leaf.dtype)
      for path, leaf in fresh.items()
    }
  )


def check_leaves(
  given: Mapping[str, np.ndarray],
  expected: Mapping[str, jax.ShapeDtypeStruct],
  *,
  source_name: str | os.PathLike,
  remedy: str,
) -> None:
  """Compares paths and shapes of parameters with those of a model.

  Raises:
    UserError: some are missing, unexpected or of another shape; ends with `remedy`.
  """
  missing = sorted(set(expected) - set(given))
  unexpected = sorted(set(given) - set(expected))
  shapes = [
    f'{path} {given[path].shape} instead of {expected[path].shape}'
    for path in sorted(set(given) & set(expected))
    if given[path].shape != expected[path].shape
  ]
  if missing or unexpected or shapes:
    raise UserError(
      f'Expected weights of the model that the config describes in {source_name}; '
      f'missing: {_some(missing)}; unexpected: {_some(unexpected)}; '
      f'of another shape: {_some(shapes)}. {remedy}'
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


def _fit(
  path: str, leaf: np.ndarray, *, shape: tuple[int, ...], class_rows: int
) -> np.ndarray:
  """The leaf, interpolated where it is a square position table of another side."""
  is_table = path == 'image/position_embedding' and leaf.ndim == 2
  if not is_table or leaf.shape == shape or leaf.shape[1:] != shape[1:]:
    return leaf
  old, new = len(leaf) - class_rows, shape[0] - class_rows
  if round(old**0.5) ** 2 != old:
    return leaf
  logging.info('interpolating the positions of %d patches to %d, bicubic', old, new)
  return interpolate_positions(leaf, positions=shape[0], class_rows=class_rows)


def interpolate_positions(
  table: np.ndarray, *, positions: int, class_rows: int = 1
) -> np.ndarray:
  """A position table for another number of patches, bicubic as in OpenCLIP.

  Args:
    table: f32[class_rows + n * n, width], the class token's row first.
    positions: class_rows + m * m.
    class_rows: 1, or 0 without a class token.

  Returns:
    f32[positions, width].
  """
  width = table.shape[1]
  old, new = (round((count - class_rows) ** 0.5) for count in (len(table), positions))
  grid = np.asarray(table[class_rows:], np.float32).reshape(old, old, width)
  grid = jax.image.resize(grid, (new, new, width), 'bicubic', antialias=True)
  return np.concatenate([table[:class_rows], np.asarray(grid).reshape(-1, width)])


def _some(names: list[str], *, most: int = 4) -> str:
  more = f' and {len(names) - most} more' if len(names) > most else ''
  return (', '.join(names[:most]) or 'none') + more
