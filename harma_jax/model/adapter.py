"""HarMA's multimodal gated adapter (arXiv 2404.18253, with the released code)."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from harma_jax.model.additions import Additions
from harma_jax.model.attention import Attention, Kernel
from harma_jax.model.dense import Dense

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
    adapter = GatedAdapter(self, dtype=m.dtype, kernel=block.kernel, name='adapter')
    scale = jax.nn.sigmoid(gate).astype(m.dtype)
    return m + adapter(m, scale=scale, shared=shared, mask=mask)


class SharedAdapter(nn.Module):
  """`S(a) = a + W2(gamma MHA(y) + (1 - gamma) y)`, `y = W1 a`, on dtype[B, L, 128]."""

  settings: AdapterSettings
  dtype: jnp.dtype
  kernel: Kernel = Kernel()

  @nn.compact
  def __call__(self, a: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
    down = Dense(self.settings.shared_bottleneck, self.dtype, name='down')
    gate = self.param(
      'shared_gate', nn.initializers.constant(self.settings.gate), ()
    ).astype(self.dtype)
    attention = _attention(self.settings, dtype=self.dtype, kernel=self.kernel)
    y = down(a)
    mixed = y + jax.nn.sigmoid(gate) * (attention(y, mask=mask) - y)
    return a + _zero_dense(a.shape[-1], dtype=self.dtype, name='up')(mixed)


class GatedAdapter(nn.Module):
  """What the adapter adds: `scale (A(h) - h)`, METHOD 1.

  `A(h) - h = W_up(beta z + (1 - beta) a)`, `z = GELU(W_down h)` and
  `a = MHA(S(MHA(z)))` with the same attention weights twice.
  """

  settings: AdapterSettings
  dtype: jnp.dtype
  kernel: Kernel = Kernel()

  @nn.compact
  def __call__(
    self,
    h: jax.Array,
    *,
    scale: jax.Array | None = None,
    shared: dict | None = None,
    mask: jax.Array | None = None,
  ) -> jax.Array:
    """Computes the change of the hidden states.

    Args:
      h: dtype[B, L, width], the output of the MLP.
      scale: dtype[], a factor of the change; None: 1.
      shared: parameters of this layer's `SharedAdapter`, or None to do without.
      mask: bool[B, L], the positions to attend to; None: all.

    Returns:
      dtype[B, L, width], zero for fresh weights.
    """
    down = Dense(self.settings.bottleneck, self.dtype, name='down')
    attention = _attention(self.settings, dtype=self.dtype, kernel=self.kernel)
    gate = self.param(
      'adapter_gate', nn.initializers.constant(self.settings.gate), ()
    ).astype(self.dtype)
    z = jax.nn.gelu(down(h), approximate=False)
    a = attention(z, mask=mask)
    if shared is not None:
      share = SharedAdapter(self.settings, self.dtype, self.kernel, parent=None)
      a = share.apply({'params': shared}, a, mask=mask)
    a = attention(a, mask=mask)
    mixed = a + jax.nn.sigmoid(gate) * (z - a)
    return _zero_dense(h.shape[-1], dtype=self.dtype, name='up')(mixed, scale=scale)


def _zero_dense(width: int, *, dtype: jnp.dtype, name: str) -> Dense:
  return Dense(width, dtype, kernel_init=nn.initializers.zeros, name=name)


def _attention(
  settings: AdapterSettings, *, dtype: jnp.dtype, kernel: Kernel
) -> Callable:
  if settings.attention:
    return Attention(settings.heads, dtype, kernel=kernel, name='attention')
  return lambda x, *, mask: x
