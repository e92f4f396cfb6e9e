"""Multi-head self-attention with fused query, key and value weights."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh

from harma_jax.model.additions import Additions
from harma_jax.model.dense import Dense

Initializer = jax.nn.initializers.Initializer
MASKED = -1e30  # a logit whose weight is 0, but in a row that is masked as a whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernel:
  """What computes attention from queries, keys and values.

  Attributes:
    name: `xla`, `plain` (the same, faster on CPUs), `cudnn` (NVIDIA GPUs in half
      precision) or `pallas` (TPUs, likewise).
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
      # Imports what only TPUs need.
      from harma_jax.model.attention_pallas import attend

      return attend(
        qkv,
        mask,
        heads=heads,
        causal=causal,
        valid=self.valid,
        mesh=self.mesh,
        interpret=self.interpret,
      )
    if self.name == 'plain':
      return attend_plainly(qkv, mask, heads=heads, causal=causal)
    return attend_by_jax(
      qkv, mask, heads=heads, causal=causal, implementation=self.name
    )


def attend_plainly(
  qkv: jax.Array, mask: jax.Array | None, *, heads: int, causal: bool
) -> jax.Array:
  """Attention in products and sums alone; arguments as those of `Kernel`.

  Weights are divided by their sum after they met the values: the narrower the heads,
  the fewer the divisions, in the backward pass too.
  """
  batch, length, width = qkv.shape
  parts = qkv.reshape(batch, length, 3, heads, -1).transpose(2, 0, 3, 1, 4)
  query, key, value = parts[0], parts[1], parts[2]
  logits = (
    jnp.einsum('bhqd,bhkd->bhqk', query, key, preferred_element_type=jnp.float32)
    * query.shape[-1] ** -0.5
  )
  allowed = _allowed(mask, length=length, causal=causal)
  if allowed is not None:
    logits = jnp.where(allowed, logits, MASKED)
  highest = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
  weights = jnp.exp(logits - highest)
  attended = jnp.einsum(
    'bhqk,bhkd->bhqd',
    weights.astype(value.dtype),
    value,
    preferred_element_type=jnp.float32,
  ) / weights.sum(axis=-1, keepdims=True)
  rows = attended.astype(qkv.dtype).transpose(0, 2, 1, 3)
  return rows.reshape(batch, length, width // 3)


def _allowed(mask: jax.Array | None, *, length: int, causal: bool) -> jax.Array | None:
  """bool[B or 1, 1, L or 1, L], what a position may attend to; None: to all."""
  keys = None if mask is None else mask[:, None, None, :]
  if not causal:
    return keys
  before = jnp.tri(length, dtype=bool)[None, None]
  return before if keys is None else before & keys


def attend_by_jax(
  qkv: jax.Array,
  mask: jax.Array | None,
  *,
  heads: int,
  causal: bool,
  implementation: str,
) -> jax.Array:
  """Attention as jax has it, `xla` or `cudnn`; arguments as those of `Kernel`."""
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
    implementation=implementation,
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
