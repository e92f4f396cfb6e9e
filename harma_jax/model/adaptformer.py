"""AdaptFormer (Chen et al. 2022, arXiv 2205.13535): a bottleneck beside each MLP."""

import dataclasses

import jax

from harma_jax.model.additions import Additions
from harma_jax.model.bottleneck import Bottleneck


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptFormerSettings(Additions):
  """`m + scale up(relu(down(x)))`, where `m = MLP(x)` and x is normalised.

  So the paper has it; its released code gives the bottleneck x before the LayerNorm.
  """

  kind = 'adaptformer'

  bottleneck: int = 64
  scale: float = 0.1

  def change_mlp(self, block, x, m, *, shared, mask) -> jax.Array:
    """See `Additions`."""
    del block, shared, mask
    beside = Bottleneck(self.bottleneck, True, m.dtype, name='adaptformer')
    return m + self.scale * beside(x)
