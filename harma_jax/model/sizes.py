"""Shapes of CLIP: every number that a tower needs, the activation included."""

import dataclasses
from typing import Literal

from harma_jax.errors import UserError

Activation = Literal['gelu', 'quick_gelu']


@dataclasses.dataclass(frozen=True, kw_only=True)
class TowerSize:
  """A pre-LN transformer: `width` divides into `heads`, the MLP is 4 times wider."""

  width: int
  layers: int
  heads: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
  """A CLIP model.

  `activation` belongs to the weights and cannot be seen in them: GELU for most
  OpenCLIP models, QuickGELU for OpenAI's and what was tuned from them. `logit_bias`:
  the weights come with the bias of a sigmoid loss.
  """

  image: TowerSize
  text: TowerSize
  image_size: int
  patch_size: int
  embedding: int
  activation: Activation
  context_length: int = 77
  vocabulary: int = 49408
  logit_bias: bool = False


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
SIZES: dict[str, Size] = _GELU | {
  f'{name}-quickgelu': dataclasses.replace(size, activation='quick_gelu')
  for name, size in _GELU.items()
}


# Of repositories of the Hugging Face hub, by which a size is known without a download.
HUB_SIZES = {
  'laion/CLIP-ViT-B-32-laion2B-s34B-b79K': 'ViT-B-32',
  'laion/CLIP-ViT-B-16-laion2B-s34B-b88K': 'ViT-B-16',
  'laion/CLIP-ViT-L-14-laion2B-s32B-b82K': 'ViT-L-14',
  'laion/CLIP-ViT-H-14-laion2B-s32B-b79K': 'ViT-H-14',
  'openai/clip-vit-base-patch32': 'ViT-B-32-quickgelu',
  'openai/clip-vit-base-patch16': 'ViT-B-16-quickgelu',
  'openai/clip-vit-large-patch14': 'ViT-L-14-quickgelu',
  'openai/clip-vit-large-patch14-336': 'ViT-L-14-336-quickgelu',
}


def named_size(name: str, *, image_size: int = 0) -> Size:
  """The size called `name`, for images of `image_size` pixels (0: its own).

  Raises:
    UserError: no such name, or a side that the patches do not divide.
  """
  if name not in SIZES:
    raise UserError(
      f'model.size: expected one of {", ".join(sorted(SIZES))}; found {name!r}.'
    )
  size = SIZES[name]
  size = dataclasses.replace(size, image_size=image_size or size.image_size)
  if size.image_size % size.patch_size:
    raise UserError(
      f'model.image_size: expected a multiple of the {size.patch_size} px patches of '
      f'{name}; found {size.image_size}.'
    )
  return size
