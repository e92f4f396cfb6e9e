"""Of which family and size weights are: what their tensors and their config tell."""

import re
from collections.abc import Mapping

from harma_jax.errors import UserError
from harma_jax.model.families import CLIP, SIGLIP, Family
from harma_jax.model.sizes import SIZES, Size, TowerSize, describe
from harma_jax.weights.layouts import LAYOUTS
from harma_jax.weights.names import PATCHES
from harma_jax.weights.sources import Source

QUICK_GELU = '-quickgelu'
# Of a family's weights where nothing tells another.
_ACTIVATION_OF = {CLIP: None, SIGLIP: 'gelu_tanh'}


def recognise(source: Source) -> tuple[str, int]:
  """The name of the size that a source has (`describe`), and its image side in pixels.

  Raises:
    UserError: nothing tells the activation, or how many heads there are.
  """
  shown = shown_by(source)
  family = LAYOUTS[source.layout].family
  heads = {
    tower: _heads(tower, shown, source.settings, family) for tower in ('image', 'text')
  }
  if None in heads.values():
    found = _listed({**shown, **source.settings})
    raise UserError(
      f'model.size: expected weights of one of {", ".join(SIZES)}; found {found} in '
      f'{source.path}. Take weights of one of these, or set --config.model.size to the '
      'nearest of them with what is otherwise behind it: '
      'NAME,image.width=WIDTH,image.heads=HEADS,...'
    )
  activation = source.activation or _ACTIVATION_OF[family]
  if activation is None:
    raise UserError(_which_activation(source, shown, heads))
  size = _size_of(
    shown,
    heads,
    family=family,
    activation=activation,
    text_activation=source.settings.get('text_activation'),
  )
  return describe(size), size.image_size


def _heads(
  tower: str, shown: Mapping[str, int], settings: Mapping, family: Family
) -> int | None:
  """As the config tells, or as all known towers of this width have."""
  of_family = [size for size in SIZES.values() if size.family == family]
  known = {
    own.heads
    for size in of_family
    for own in (size.image, size.text)
    if own.width == shown[f'{tower}_width']
  }
  return settings.get(f'{tower}_heads') or (known.pop() if len(known) == 1 else None)


def _size_of(
  shown: Mapping[str, int],
  heads: Mapping[str, int],
  *,
  family: Family,
  activation: str,
  text_activation: str | None = None,
) -> Size:
  def tower(name):
    width, mlp_width = shown[f'{name}_width'], shown[f'{name}_mlp_width']
    return TowerSize(
      width=width,
      layers=shown[f'{name}_layers'],
      heads=heads[name],
      mlp_width=0 if mlp_width == 4 * width else mlp_width,
    )

  return Size(
    image=tower('image'),
    text=tower('text'),
    image_size=shown['pixels'],
    patch_size=shown['patch'],
    embedding=shown['embedding'],
    activation=activation,
    context_length=shown['context'],
    vocabulary=shown['vocabulary'],
    text_activation=None if text_activation == activation else text_activation,
    family=family,
    logit_bias=family is SIGLIP,
  )


def _which_activation(source: Source, shown: Mapping, heads: Mapping) -> str:
  users = {
    'gelu': 'most OpenCLIP models: LAION, DataComp, and what was tuned from them',
    'quick_gelu': 'OpenAI, and what was tuned from it: GeoRSCLIP, RemoteCLIP',
  }
  names = {
    activation: describe(_size_of(shown, heads, family=CLIP, activation=activation))
    for activation in users
  }
  choices = ' or '.join(
    f'--config.model.size={names[activation]} for {activation} ({who})'
    for activation, who in users.items()
  )
  return (
    'model.size: expected to know the activation, which tensors do not show; found no '
    f'config beside {source.path} that tells it. Set {choices}.'
  )


def check_family(source: Source, size: Size) -> None:
  """Raises UserError where weights of one family are given to a model of another."""
  family = LAYOUTS[source.layout].family
  if family != size.family:
    raise UserError(
      f'model.size: expected weights of a {size.family.name}, as the size is; found a '
      f'{family.name} in {source.path}. Leave model.size=auto, or set '
      f'--config.model.size to a size of {family.name}.'
    )


def check_settings(source: Source, size: Size) -> None:
  """Checks a size against what stands beside the tensors.

  Raises:
    UserError: it is of another family, or has another activation, or other heads.
  """
  check_family(source, size)
  ours = {
    'activation': size.activation,
    'text_activation': size.text_activation or size.activation,
    'image_heads': size.image.heads,
    'text_heads': size.text.heads,
  }
  told = source.settings
  found = {
    name: value for name, value in ours.items() if told.get(name, value) != value
  }
  if found:
    expected = {name: told[name] for name in found}
    raise UserError(
      f'model.size: expected {_listed(expected)}, as {source.told_by} tells of '
      f'{source.path}; found a size with {_listed(found)}. Leave model.size=auto, or '
      f'take the size with {QUICK_GELU} behind its name for quick_gelu.'
    )


def _listed(settings: Mapping[str, str | int]) -> str:
  return ', '.join(f'{name}={value}' for name, value in settings.items())


def shown_by(source: Source) -> dict[str, int]:
  """The numbers of a size that tensors show; `pixels` as the config says, if it does.

  Raises:
    UserError: a tensor that shows one is missing or has another rank.
  """
  layout = LAYOUTS[source.layout]
  patch, width = _patch(source)
  positions, _ = _shape(source, 'image/position_embedding', rank=2)
  context, text_width = _shape(source, 'text/position_embedding', rank=2)
  vocabulary, _ = _shape(source, 'text/token_embedding', rank=2)
  side = round((positions - layout.family.class_token) ** 0.5)
  told = source.settings.get('image_size', 0)
  return {
    'pixels': told if told // patch == side else patch * side,
    'patch': patch,
    'image_width': width,
    'image_layers': _depth(source, layout.blocks['image']),
    'image_mlp_width': _mlp_width(source, 'image'),
    'text_width': text_width,
    'text_layers': _depth(source, layout.blocks['text']),
    'text_mlp_width': _mlp_width(source, 'text'),
    'embedding': _embedding(source),
    'context': context,
    'vocabulary': vocabulary,
  }


def _patch(source: Source) -> tuple[int, int]:
  """The side of a patch in pixels, and the image tower's width."""
  shape = _shape(source, PATCHES, rank=4)
  return (
    (shape[0], shape[3])
    if LAYOUTS[source.layout].keeps_kernels
    else (shape[2], shape[0])
  )


def _embedding(source: Source) -> int:
  layout = LAYOUTS[source.layout]
  if layout.family.text_output == 'head':
    return _shape(source, 'text/head/bias', rank=1)[0]
  projection = _shape(source, 'image/projection', rank=2)
  return projection[0 if 'image/projection' in layout.transposed else 1]


def _mlp_width(source: Source, tower: str) -> int:
  layout = LAYOUTS[source.layout]
  [name] = layout.block_of(tower)['mlp/up/bias']
  return _shape_of(source, layout.blocks[tower].format(0) + name, rank=1)[0]


def _shape(source: Source, path: str, *, rank: int) -> tuple[int, ...]:
  """Of what a program keeps for our path, without axes of length 1 before it."""
  layout = LAYOUTS[source.layout]
  leading = layout.leading.get(path, 0)
  return _shape_of(source, layout.outside[path][0], rank=leading + rank)[leading:]


def _shape_of(source: Source, name: str, *, rank: int) -> tuple[int, ...]:
  shape = source.tensors[name].shape if name in source.tensors else None
  if shape is None or len(shape) != rank:
    raise UserError(
      f'Expected a vision-transformer {LAYOUTS[source.layout].family.name}, with '
      f'{name} of {rank} axes, in {source.path}; found {shape or "no such tensor"}. '
      'Take other weights.'
    )
  return shape


def _depth(source: Source, blocks: str) -> int:
  pattern = re.compile(re.escape(blocks).replace(r'\{\}', r'(\d+)'))
  found = (pattern.match(name) for name in source.tensors)
  return 1 + max((int(match[1]) for match in found if match), default=-1)
