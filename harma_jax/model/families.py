"""What towers of one family have in common, as switches; sizes are in `sizes`."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
  """How towers begin, what their texts see, and how rows become one vector.

  Attributes:
    name: for messages.
    class_token: a learned row before those of the patches.
    patch_bias: whether patches are embedded with a bias.
    ln_pre: whether the image's rows are normalised before the first block.
    epsilon: of every layer normalisation.
    image_pooling: `class`, the first row; or `attention`, a learned query of all.
    image_output: what follows, `projection`, a matrix; or `none`.
    causal: whether a token sees those before it alone.
    text_pooling: `end`, the row of the highest id; or `last`, of the last position.
    text_output: what follows, `projection`, a matrix; or `head`, with a bias.
  """

  name: str
  class_token: bool
  patch_bias: bool
  ln_pre: bool
  epsilon: float
  image_pooling: Literal['class', 'attention']
  image_output: Literal['projection', 'none']
  causal: bool
  text_pooling: Literal['end', 'last']
  text_output: Literal['projection', 'head']


CLIP = Family(
  name='CLIP',
  class_token=True,
  patch_bias=False,
  ln_pre=True,
  epsilon=1e-5,
  image_pooling='class',
  image_output='projection',
  causal=True,
  text_pooling='end',
  text_output='projection',
)
# Of a fixed resolution, version 1 or 2 (arXiv 2303.15343, 2502.14786).
SIGLIP = Family(
  name='SigLIP',
  class_token=False,
  patch_bias=True,
  ln_pre=False,
  epsilon=1e-6,
  image_pooling='attention',
  image_output='none',
  causal=False,
  text_pooling='last',
  text_output='head',
)
