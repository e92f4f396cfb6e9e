"""CLIP-Adapter (Gao et al. 2021, arXiv 2110.04544): a bottleneck on the features."""

import dataclasses

import jax

from harma_jax.model.additions import Additions
from harma_jax.model.bottleneck import Bottleneck


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipAdapterSettings(Additions):
  """`x + ratio / (1 - ratio) up(relu(down(x)))` in both towers.

  Once of length 1 that is the paper's `ratio up(..) + (1 - ratio) x`. It departs from
  the paper in that the last layer starts at zero and no ReLU follows it, whose gradient
  would be zero there: so fresh weights leave CLIP as it is.
  """

  kind = 'clip_adapter'

  reduction: int = 4
  ratio: float = 0.2

  def change_features(self, features: jax.Array) -> jax.Array:
    """See `Additions`."""
    inner = max(features.shape[-1] // self.reduction, 1)
    bottleneck = Bottleneck(inner, False, features.dtype, name='clip_adapter')
    return features + self.ratio / (1 - self.ratio) * bottleneck(features)
