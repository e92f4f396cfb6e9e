"""Multi-head self-attention with fused query, key and value weights."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh

from harma_jax.model.additions import Additions
from harma_jax.model.attention_pallas import attend
from harma_jax.model.dense import Dense

Initializer = jax.nn.initializers.Initializer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernel:
  """What computes attention from queries, keys and values.

  Attributes:
    name: `xla`, `cudnn` (NVIDIA GPUs in half precision) or `pallas` (TPUs, likewise).
    mesh: of the devices over which rows are cut; only `pallas` needs it.
    valid: positions of a row that are no padding of the tower's, at its end; 0: all.
    interpret: computes `pallas` without a TPU.
  """

  name: str = 'xla'
  mesh: Mesh | None = None
  valid: int = 0
  interpret: bool = False

  def __call__(
    self, qkv: jax.Array, mask: jax.Array | None, *, heads: int, causal: bool
  ) -> jax.Array:
    """From dtype[B, L, 3 width], and bool[B, L] or None, to dtype[B, L, width]."""
    if self.name == 'pallas':
      return attend(
        qkv,
        mask,
        heads=heads,
        causal=causal,
        valid=self.valid,
        mesh=self.mesh,
        interpret=self.interpret,
      )
    batch, length, width = qkv.shape
    query, key, value = (
      part.reshape(batch, length, heads, width // 3 // heads)
      for part in jnp.split(qkv, 3, axis=-1)
    )
    attended = jax.nn.dot_product_attention(
      query,
      key,
      value,
      mask=None if mask is None else mask[:, None, None, :],
      is_causal=causal,
      implementation=self.name,
    )
    return attended.reshape(batch, length, width // 3)


class Attention(nn.Module):
  """Self-attention as in `torch.nn.MultiheadAttention`, softmax in f32."""

  heads: int
  dtype: jnp.dtype
  causal: bool = False
  qkv_init: Initializer = nn.initializers.xavier_uniform()
  out_init: Initializer = nn.initializers.xavier_uniform()
  adapter: Additions = Additions()
  kernel: Kernel = Kernel()
  keep: str = ''  # what queries, keys and values are called in policies of `REMAT`

  @nn.compact
  def __call__(self, x: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
    """Attends over the positions of each row.

    Args:
      x: dtype[B, L, width]; `heads` divides the width.
      mask: bool[B, L], positions that may be attended to; None: all of them.

    Returns:
      dtype[B, L, width].
    """
    width = x.shape[-1]
    qkv = Dense(3 * width, self.dtype, kernel_init=self.qkv_init, name='qkv')
    out = Dense(width, self.dtype, kernel_init=self.out_init, name='out')
    qkv = self.adapter.change_dense('qkv', x, qkv(x))
    qkv = checkpoint_name(qkv, self.keep) if self.keep else qkv
    return out(self.kernel(qkv, mask, heads=self.heads, causal=self.causal))
