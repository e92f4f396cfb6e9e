"""LoRA (Hu et al. 2021, arXiv 2106.09685): low-rank changes of a block's matrices."""

import dataclasses
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from harma_jax.model.additions import Additions
from harma_jax.model.bottleneck import UNIFORM

# Which of the equal parts of which dense layer each one changes: (layer, part, parts).
PLACES = {
  'lora_query': ('qkv', 0, 3),
  'lora_value': ('qkv', 2, 3),
  'lora_up': ('up', 0, 1),
  'lora_down': ('down', 0, 1),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraSettings(Additions):
  """`W + alpha / rank A B` for query and value and, with `mlp`, the two of the MLP."""

  kind = 'lora'

  rank: int = 8
  alpha: float = 16.0
  mlp: bool = False

  @property
  def scale(self) -> float:
    """What the product of the two factors is multiplied by."""
    return self.alpha / self.rank

  def change_dense(self, name: str, x: jax.Array, y: jax.Array) -> jax.Array:
    """See `Additions`."""
    if name != 'qkv' and not self.mlp:
      return y
    for place, (layer, part, parts) in PLACES.items():
      if layer == name:
        width = y.shape[-1] // parts
        change = LowRank(self.rank, width, y.dtype, name=place)(x)
        around = (part * width, (parts - part - 1) * width)
        y = y + self.scale * jnp.pad(change, ((0, 0), (0, 0), around))
    return y


class LowRank(nn.Module):
  """`x A B`, dtype[..., inputs] to [..., width], where B is zero for fresh weights."""

  rank: int
  width: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    settings = {'use_bias': False, 'dtype': self.dtype}
    a = nn.Dense(self.rank, kernel_init=UNIFORM, name='a', **settings)
    b = nn.Dense(self.width, kernel_init=nn.initializers.zeros, name='b', **settings)
    return b(a(x))


def merge_lora(params: dict, settings: LoraSettings) -> dict:
  """Parameters of plain CLIP that computes the same.

  Args:
    params: of a `Clip` whose adapter is `settings`, of any float type.
    settings: for their scale.

  Returns:
    The tree without LoRA's leaves; the kernels that they change are numpy arrays f32,
    all others the same objects.
  """
  leaves = traverse_util.flatten_dict(params, sep='/')
  merged = {path: leaf for path, leaf in leaves.items() if '/lora_' not in path}
  for path in leaves:
    if match := re.fullmatch(r'(.*)/(lora_\w+)/a/kernel', path):
      within, place = match.groups()
      layer, part, parts = PLACES[place]
      a, b = (np.asarray(leaves[f'{within}/{place}/{f}/kernel'], 'f4') for f in 'ab')
      target = f'{within}/{layer}/kernel'
      kernel = np.array(merged[target], np.float32)
      # A view: the layers' stack of kernels is changed in place.
      np.split(kernel, parts, axis=-1)[part][...] += settings.scale * (a @ b)
      merged[target] = kernel
  return traverse_util.unflatten_dict(merged, sep='/')
