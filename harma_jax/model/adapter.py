"""HarMA's multimodal gated adapter (arXiv 2404.18253, with the released code)."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from harma_jax.model.additions import Additions
from harma_jax.model.attention import Attention

SHARED_ADAPTER = ('text', 'both', 'none')
ADAPTER_PADDING = ('none', 'padding')


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdapterSettings(Additions):
  """Inner widths of the adapter and of the part that is shared, heads, first gate.

  Without `attention` the identity takes its place in all formulas.
  """

  kind = 'harma'
  shares = True

  bottleneck: int = 128
  shared_bottleneck: int = 64
  heads: int = 8
  gate: float = 0.6
  attention: bool = True

  def change_mlp(self, block, x, m, *, shared, mask) -> jax.Array:
    """`m + sigmoid(block_gate) (A(m) - m)`.

    That form of HarMA's gated sum (METHOD 1) is exact where the adapter A is the
    identity: a fresh adapter leaves every bit of CLIP as it was.
    """
    del x
    gate = block.param('block_gate', nn.initializers.constant(self.gate), ())
    adapter = GatedAdapter(self, dtype=m.dtype, name='adapter')
    change = adapter(m, shared=shared, mask=mask)
    return m + jax.nn.sigmoid(gate).astype(m.dtype) * change


class SharedAdapter(nn.Module):
  """`S(a) = a + W2(gamma MHA(y) + (1 - gamma) y)`, `y = W1 a`, on dtype[B, L, 128]."""

  settings: AdapterSettings
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, a: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
    down = nn.Dense(self.settings.shared_bottleneck, dtype=self.dtype, name='down')
    gate = self.param(
      'shared_gate', nn.initializers.constant(self.settings.gate), ()
    ).astype(self.dtype)
    attention = _attention(self.settings, dtype=self.dtype)
    y = down(a)
    mixed = y + jax.nn.sigmoid(gate) * (attention(y, mask=mask) - y)
    return a + _zero_dense(a.shape[-1], dtype=self.dtype, name='up')(mixed)


class GatedAdapter(nn.Module):
  """What the adapter adds: `A(h) - h = W_up(beta z + (1 - beta) a)`, METHOD 1.

  `z = GELU(W_down h)`, `a = MHA(S(MHA(z)))` with the same attention weights twice.
  """

  settings: AdapterSettings
  dtype: jnp.dtype

  @nn.compact
  def __call__(
    self,
    h: jax.Array,
    *,
    shared: dict | None = None,
    mask: jax.Array | None = None,
  ) -> jax.Array:
    """Computes the change of the hidden states.

    Args:
      h: dtype[B, L, width], the output of the MLP.
      shared: parameters of this layer's `SharedAdapter`, or None to do without.
      mask: bool[B, L], the positions to attend to; None: all.

    Returns:
      dtype[B, L, width], zero for fresh weights.
    """
    down = nn.Dense(self.settings.bottleneck, dtype=self.dtype, name='down')
    attention = _attention(self.settings, dtype=self.dtype)
    gate = self.param(
      'adapter_gate', nn.initializers.constant(self.settings.gate), ()
    ).astype(self.dtype)
    z = jax.nn.gelu(down(h), approximate=False)
    a = attention(z, mask=mask)
    if shared is not None:
      share = SharedAdapter(self.settings, self.dtype, parent=None)
      a = share.apply({'params': shared}, a, mask=mask)
    a = attention(a, mask=mask)
    mixed = a + jax.nn.sigmoid(gate) * (z - a)
    return _zero_dense(h.shape[-1], dtype=self.dtype, name='up')(mixed)


def _zero_dense(width: int, *, dtype: jnp.dtype, name: str) -> nn.Dense:
  return nn.Dense(width, kernel_init=nn.initializers.zeros, dtype=dtype, name=name)


def _attention(settings: AdapterSettings, *, dtype: jnp.dtype) -> Callable:
  if settings.attention:
    return Attention(settings.heads, dtype, name='attention')
  return lambda x, *, mask: x
