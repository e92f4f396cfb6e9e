"""Multi-head self-attention with fused query, key and value weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from harma_jax.model.additions import Additions

Initializer = jax.nn.initializers.Initializer


class Attention(nn.Module):
  """Self-attention as in `torch.nn.MultiheadAttention`, softmax in f32."""

  heads: int
  dtype: jnp.dtype
  causal: bool = False
  qkv_init: Initializer = nn.initializers.xavier_uniform()
  out_init: Initializer = nn.initializers.xavier_uniform()
  adapter: Additions = Additions()
  kernel: str = 'xla'

  @nn.compact
  def __call__(self, x: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
    """Attends over the positions of each row.

    Args:
      x: dtype[B, L, width]; `heads` divides the width.
      mask: bool[B, L], positions that may be attended to; None: all of them.

    Returns:
      dtype[B, L, width].
    """
    batch, length, width = x.shape
    qkv = nn.Dense(3 * width, kernel_init=self.qkv_init, dtype=self.dtype, name='qkv')
    query, key, value = (
      part.reshape(batch, length, self.heads, width // self.heads)
      for part in jnp.split(self.adapter.change_dense('qkv', x, qkv(x)), 3, axis=-1)
    )
    attended = jax.nn.dot_product_attention(
      query,
      key,
      value,
      mask=None if mask is None else mask[:, None, None, :],
      is_causal=self.causal,
      implementation=self.kernel,
    )
    out = nn.Dense(width, kernel_init=self.out_init, dtype=self.dtype, name='out')
    return out(attended.reshape(batch, length, width))
