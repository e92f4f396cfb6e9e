"""Shapes of the towers: every number that they need, activation and family included."""

import dataclasses
import functools
from typing import Literal, get_args

from absl import logging

from harma_jax.errors import UserError
from harma_jax.model.families import CLIP, SIGLIP, Family
from harma_jax.model.preprocessing import HALVES, OPENAI, Preprocessing

Activation = Literal['gelu', 'gelu_tanh', 'quick_gelu']
_ACTIVATIONS: tuple[str, ...] = get_args(Activation)
_SAME = 'same'  # of the text tower's activation, in names


@dataclasses.dataclass(frozen=True, kw_only=True)
class TowerSize:
  """A pre-LN transformer: `heads` divides `width`; 0 for an MLP 4 times as wide."""

  width: int
  layers: int
  heads: int
  mlp_width: int = 0

  @property
  def inner(self) -> int:
    """The width between the two layers of an MLP."""
    return self.mlp_width or 4 * self.width


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
  """A model of two towers.

  `activation` belongs to the weights and cannot be seen in them: GELU for most
  OpenCLIP models, QuickGELU for OpenAI's and what was tuned from them, GELU with tanh
  for SigLIP. OpenCLIP computes some SigLIP with another one in the text tower:
  `text_activation`; None is the same. `logit_bias`: the weights come with the bias of a
  sigmoid loss.
  """

  image: TowerSize
  text: TowerSize
  image_size: int
  patch_size: int
  embedding: int
  activation: Activation
  context_length: int = 77
  vocabulary: int = 49408
  text_activation: Activation | None = None
  family: Family = CLIP
  logit_bias: bool = False
  preprocessing: Preprocessing = OPENAI

  @property
  def image_positions(self) -> int:
    """Rows of the image tower: whole patches, and the class token's, if any."""
    return self.family.class_token + (self.image_size // self.patch_size) ** 2

  @property
  def unseen_pixels(self) -> int:
    """At the right and at the bottom, where patches do not divide the side."""
    return self.image_size % self.patch_size

  @property
  def fixed_length(self) -> bool:
    """Whether captions have all positions, so that no cut leaves features the same."""
    return self.family.text_pooling == 'last' and not self.family.causal


def _vit(image: tuple, text: tuple, *, px: int, patch: int, embedding: int) -> Size:
  return Size(
    image=TowerSize(width=image[0], layers=image[1], heads=image[2]),
    text=TowerSize(width=text[0], layers=text[1], heads=text[2]),
    image_size=px,
    patch_size=patch,
    embedding=embedding,
    activation='gelu',
  )


def _tiny(*, patch: int) -> Size:
  size = _vit((128, 4, 4), (128, 2, 4), px=64, patch=patch, embedding=128)
  return dataclasses.replace(size, context_length=24)


# (width, layers, heads) of the image and the text tower.
_GELU = {
  'ViT-B-32': _vit((768, 12, 12), (512, 12, 8), px=224, patch=32, embedding=512),
  'ViT-B-16': _vit((768, 12, 12), (512, 12, 8), px=224, patch=16, embedding=512),
  'ViT-L-14': _vit((1024, 24, 16), (768, 12, 12), px=224, patch=14, embedding=768),
  'ViT-L-14-336': _vit((1024, 24, 16), (768, 12, 12), px=336, patch=14, embedding=768),
  'ViT-H-14': _vit((1280, 32, 16), (1024, 24, 16), px=224, patch=14, embedding=1024),
  # For CPUs and tests; four times fewer patches in the second.
  'tiny': _tiny(patch=8),
  'tiny-16': _tiny(patch=16),
}

# (width, layers, heads, width of the MLP) of SigLIP's image towers; texts have the same
# but for the largest.
_SIGLIP_TOWERS = {
  'B': TowerSize(width=768, layers=12, heads=12),
  'L': TowerSize(width=1024, layers=24, heads=16),
  'SO400M': TowerSize(width=1152, layers=27, heads=16, mlp_width=4304),
  'gopt': TowerSize(width=1536, layers=40, heads=16),
}
_WORDS, _WORDS_2 = 32_000, 256_000


def _siglip(
  tower: TowerSize,
  text: TowerSize | None = None,
  *,
  px: int,
  patch: int,
  vocabulary: int,
  context_length: int = 64,
) -> Size:
  return Size(
    image=tower,
    text=text or tower,
    image_size=px,
    patch_size=patch,
    embedding=tower.width,
    activation='gelu_tanh',
    context_length=context_length,
    vocabulary=vocabulary,
    family=SIGLIP,
    logit_bias=True,
    preprocessing=HALVES,
  )


def _siglip_sizes(
  version: str, vocabulary: int, sides: dict[str, dict[str, int]]
) -> dict[str, Size]:
  """By OpenCLIP's names, out of {'B-16': {end of the name: side}}."""
  sizes = {}
  for kind, ends in sides.items():
    tower, patch = kind.rsplit('-', 1)
    text = _SIGLIP_TOWERS['SO400M' if tower == 'gopt' else tower]
    for end, px in ends.items():
      sizes[f'ViT-{kind}-{version}{end}'] = _siglip(
        _SIGLIP_TOWERS[tower], text, px=px, patch=int(patch), vocabulary=vocabulary
      )
  return sizes


_SIGLIP = _siglip_sizes(
  'SigLIP',
  _WORDS,
  {
    'B-16': {'': 224, '-256': 256, '-384': 384, '-512': 512},
    'L-16': {'-256': 256, '-384': 384},
    'SO400M-14': {'': 224, '-378': 378, '-384': 384},
  },
) | _siglip_sizes(
  'SigLIP2',
  _WORDS_2,
  {
    'B-32': {'-256': 256},
    'B-16': {'': 224, '-256': 256, '-384': 384, '-512': 512},
    'L-16': {'-256': 256, '-384': 384, '-512': 512},
    'SO400M-14': {'': 224, '-378': 378},
    'SO400M-16': {'-256': 256, '-384': 384, '-512': 512},
    'gopt-16': {'-256': 256, '-384': 384},
  },
)
# The one that was trained on texts of 16 tokens.
_SIGLIP['ViT-SO400M-14-SigLIP'] = dataclasses.replace(
  _SIGLIP['ViT-SO400M-14-SigLIP'], context_length=16
)
# For CPUs and tests.
_SIGLIP['tiny-siglip'] = _siglip(
  TowerSize(width=128, layers=4, heads=4),
  TowerSize(width=128, layers=2, heads=4),
  px=64,
  patch=8,
  vocabulary=49408,  # CLIP's byte pairs: training from random weights needs no file
  context_length=24,
)

SIZES: dict[str, Size] = (
  _GELU
  | {
    f'{name}-quickgelu': dataclasses.replace(size, activation='quick_gelu')
    for name, size in _GELU.items()
  }
  | _SIGLIP
)


def named_size(name: str, *, image_size: int = 0) -> Size:
  """The size called `name`, for images of `image_size` pixels (0: its own).

  Args:
    name: of `SIZES`; what is otherwise may follow it, as `describe` writes it.
    image_size: pixels of a side.

  Raises:
    UserError: no such name or field, or a side that the patches of CLIP do not divide.
  """
  base, *changes = name.split(',')
  if base not in SIZES:
    raise UserError(
      f'model.size: expected one of {", ".join(sorted(SIZES))}; found {name!r}.'
    )
  size = SIZES[base]
  for change in changes:
    size = _changed(size, change)
  size = dataclasses.replace(size, image_size=image_size or size.image_size)
  if size.unseen_pixels and size.family is CLIP:
    raise UserError(
      f'model.image_size: expected a multiple of the {size.patch_size} px patches of '
      f'{name}; found {size.image_size}.'
    )
  if size.family.image_output == 'none' and size.embedding != size.image.width:
    raise UserError(
      f'model.size: expected features as wide as the image tower ({size.image.width}), '
      f'which {size.family.name} does not project; found embedding={size.embedding}.'
    )
  if size.image_size < size.patch_size:
    raise UserError(
      f'model.image_size: expected at least one patch of {size.patch_size} px of '
      f'{name}; found {size.image_size}.'
    )
  if size.unseen_pixels:
    _say_unseen(size.image_size, size.patch_size)
  return size


@functools.cache  # once for a side
def _say_unseen(side: int, patch: int) -> None:
  grid, unseen = divmod(side, patch)
  logging.info(
    '%d px hold %d x %d patches of %d px: the last %d px on the right and at the '
    'bottom are not seen',
    *(side, grid, grid, patch, unseen),
  )


def describe(size: Size) -> str:
  """The name with which `named_size` finds a size, but for the side of its images.

  Of the sizes of its family the one that is most like it, and behind commas what is
  otherwise: `ViT-B-16,context_length=248`.
  """
  own = _fields_of(size)
  differing = {
    name: [f'{field}={own[field]}' for field in own if own[field] != other[field]]
    for name, other in ((name, _fields_of(known)) for name, known in SIZES.items())
    if SIZES[name].family == size.family
  }

  def distance(name):
    return len(differing[name]), SIZES[name].image_size != size.image_size

  base = min(differing, key=distance)
  return ','.join([base, *differing[base]])


def _fields_of(size: Size) -> dict[str, int | str]:
  """Values by name, those of towers behind `image.` and `text.`; as they are meant."""
  towers = {
    f'{tower}.{name}': value
    for tower in ('image', 'text')
    for name, value in (
      dataclasses.asdict(getattr(size, tower))
      | {'mlp_width': getattr(size, tower).inner}
    ).items()
  }
  return towers | {
    'patch_size': size.patch_size,
    'embedding': size.embedding,
    'activation': size.activation,
    'text_activation': size.text_activation or _SAME,
    'context_length': size.context_length,
    'vocabulary': size.vocabulary,
  }


def _changed(size: Size, change: str) -> Size:
  """`size` with one `field=value`."""
  field, _, value = change.partition('=')
  known = _fields_of(size)
  is_number = isinstance(known.get(field), int)
  words = (*_ACTIVATIONS, _SAME) if field == 'text_activation' else _ACTIVATIONS
  fits = value.isdecimal() and int(value) > 0 if is_number else value in words
  if field not in known or not fits:
    raise UserError(
      f'model.size: expected NAME,FIELD=VALUE with a field of {", ".join(known)}, a '
      f'number above 0 or an activation ({", ".join(_ACTIVATIONS)}); found {change!r}.'
    )
  value = int(value) if is_number else None if value == _SAME else value
  tower, _, of_tower = field.rpartition('.')
  if tower:
    changed = dataclasses.replace(getattr(size, tower), **{of_tower: value})
    return dataclasses.replace(size, **{tower: changed})
  return dataclasses.replace(size, **{field: value})
