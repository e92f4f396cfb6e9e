"""How the rows that a tower computes become one vector a sample."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from harma_jax.model.additions import Additions
from harma_jax.model.dense import Dense
from harma_jax.model.sizes import Activation, TowerSize
from harma_jax.model.transformer import Mlp, layer_norm


def end_of(tokens: jax.Array) -> jax.Array:
  """i32[B]: where the end token of i32[B, L] stands, which has the highest id."""
  return jnp.argmax(tokens, axis=-1)


def pool_text(x: jax.Array, tokens: jax.Array, *, pooling: str) -> jax.Array:
  """One row of dtype[B, L, width]: of the `end` token, or the `last` position's."""
  if pooling == 'last':
    return x[:, -1]
  return jnp.take_along_axis(x, end_of(tokens)[:, None, None], axis=1)[:, 0]


class AttentionPooling(nn.Module):
  """SigLIP's head: a learned probe attends to all rows; `y + MLP(LN(y))` follows.

  No method adds anything here: it is no block of the tower.
  """

  size: TowerSize
  activation: Activation
  epsilon: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """From dtype[B, L, width] to dtype[B, width]."""
    width = x.shape[-1]
    probe = self.param('probe', nn.initializers.normal(width**-0.5), (width,))
    attention = ProbeAttention(self.size.heads, self.dtype, name='attention')
    y = attention(probe.astype(self.dtype), x)
    mlp = Mlp(
      self.activation,
      layers=1,
      inner=self.size.inner,
      adapter=Additions(),
      dtype=self.dtype,
      name='mlp',
    )
    return y + mlp(layer_norm('ln', dtype=self.dtype, epsilon=self.epsilon)(y))


class ProbeAttention(nn.Module):
  """Attention of one query that all samples share; parameters as `Attention` has them.

  Softmax in f32. The query is a vector, so that scores are [B, heads, L] alone.
  """

  heads: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, probe: jax.Array, x: jax.Array) -> jax.Array:
    """From dtype[width] and dtype[B, L, width] to dtype[B, width]."""
    batch, length, width = x.shape
    qkv = QueryKeysValues(self.dtype, name='qkv')
    query, keys_values = qkv(probe, x)
    query = query.reshape(self.heads, -1)
    keys_values = keys_values.reshape(batch, length, 2, self.heads, -1)
    key, value = keys_values[:, :, 0], keys_values[:, :, 1]
    logits = jnp.einsum(
      'hd,bkhd->bhk', query, key, preferred_element_type=jnp.float32
    ) * (query.shape[-1] ** -0.5)
    weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
    attended = jnp.einsum('bhk,bkhd->bhd', weights, value).reshape(batch, width)
    out = nn.initializers.xavier_uniform()
    return Dense(width, self.dtype, kernel_init=out, name='out')(attended)


class QueryKeysValues(nn.Module):
  """The query of one row, the keys and values of many, from fused weights."""

  dtype: jnp.dtype

  @nn.compact
  def __call__(self, row: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """From dtype[width], dtype[B, L, width] to dtype[width], dtype[B, L, 2 width]."""
    width = row.shape[-1]
    init = nn.initializers.xavier_uniform()
    kernel = self.param('kernel', init, (width, 3 * width)).astype(self.dtype)
    bias = self.param('bias', nn.initializers.zeros, (3 * width,)).astype(self.dtype)
    query = row @ kernel[:, :width] + bias[:width]
    return query, rows @ kernel[:, width:] + bias[width:][None, None]
