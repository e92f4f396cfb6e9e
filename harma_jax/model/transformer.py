"""The pre-LN transformer that both towers are made of."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from harma_jax.model.additions import Additions
from harma_jax.model.attention import Attention, Kernel
from harma_jax.model.dense import Dense
from harma_jax.model.sizes import TowerSize

LAYERS = ('scan', 'unroll')
# What a block keeps for its backward pass; the rest is computed again.
REMAT = {
  'none': None,
  'products': jax.checkpoint_policies.save_only_these_names(
    'statistics', 'qkv', 'attended', 'up', 'mlp'
  ),
  'outputs': jax.checkpoint_policies.save_only_these_names(
    'statistics', 'attended', 'mlp'
  ),
  'block': jax.checkpoint_policies.nothing_saveable,
}
# Rows of a tile of memory: a whole number of them spares TPUs a copy at each kernel.
TILE = 8


def quick_gelu(x: jax.Array) -> jax.Array:
  """`x * sigmoid(1.702 x)`, the approximation of OpenAI's CLIP."""
  return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: jax.Array) -> jax.Array:
  """GELU through the exact error function."""
  return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x: jax.Array) -> jax.Array:
  """GELU through a hyperbolic tangent, the approximation of SigLIP."""
  return jax.nn.gelu(x, approximate=True)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'gelu': gelu,
  'gelu_tanh': gelu_tanh,
  'quick_gelu': quick_gelu,
}


class LayerNorm(nn.Module):
  """Layer normalisation, statistics in f32; `epsilon` is CLIP's by default."""

  dtype: jnp.dtype
  epsilon: float = 1e-5

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Of dtype[B, L, width] or dtype[B, width], over the last axis."""
    width = x.shape[-1:]
    scale = self.param('scale', nn.initializers.ones, width)
    bias = self.param('bias', nn.initializers.zeros, width)
    rows = x.astype(jnp.float32)
    mean = rows.mean(axis=-1, keepdims=True)
    variance = jnp.maximum(jnp.square(rows).mean(axis=-1, keepdims=True) - mean**2, 0)
    mean, factor = (
      checkpoint_name(each, 'statistics')
      for each in (mean, jax.lax.rsqrt(variance + self.epsilon))
    )
    scale, bias = (each.reshape((1,) * (x.ndim - 1) + width) for each in (scale, bias))
    return ((rows - mean) * (factor * scale) + bias).astype(self.dtype)


def layer_norm(name: str, *, dtype: jnp.dtype, epsilon: float) -> LayerNorm:
  """A `LayerNorm` of this name."""
  return LayerNorm(dtype, epsilon, name=name)


class Mlp(nn.Module):
  """Two dense layers around an activation, `inner` wide between them.

  Of dtype[..., width]; `layers` is the depth of the tower, for the first weights.
  """

  activation: str
  layers: int
  inner: int
  adapter: Additions
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    width = x.shape[-1]
    up = nn.initializers.normal((2 * width) ** -0.5)
    down = nn.initializers.normal((2 * width * self.layers) ** -0.5)
    up = Dense(self.inner, self.dtype, kernel_init=up, name='up')
    down = Dense(width, self.dtype, kernel_init=down, name='down')
    hidden = checkpoint_name(self.adapter.change_dense('up', x, up(x)), 'up')
    x = ACTIVATIONS[self.activation](hidden)
    return self.adapter.change_dense('down', x, down(x))


class Block(nn.Module):
  """`x += MHA(LN(x)); x += MLP(LN(x))`, with what the adapter adds to either."""

  size: TowerSize
  activation: str
  causal: bool
  adapter: Additions
  dtype: jnp.dtype
  epsilon: float = 1e-5
  kernel: Kernel = Kernel()
  keep_hidden: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array, shared: dict | None, adapter_mask: jax.Array | None
  ) -> tuple[jax.Array, jax.Array | None]:
    attention = Attention(
      heads=self.size.heads,
      dtype=self.dtype,
      causal=self.causal,
      qkv_init=nn.initializers.normal(self.size.width**-0.5),
      out_init=nn.initializers.normal((2 * self.size.width * self.size.layers) ** -0.5),
      adapter=self.adapter,
      kernel=self.kernel,
      keep='qkv',
      name='attention',
    )
    ln_1 = layer_norm('ln_1', dtype=self.dtype, epsilon=self.epsilon)
    attended = attention(ln_1(x))
    x = x + checkpoint_name(attended, 'attended')
    mlp = Mlp(
      self.activation,
      layers=self.size.layers,
      inner=self.size.inner,
      adapter=self.adapter,
      dtype=self.dtype,
      name='mlp',
    )
    y = layer_norm('ln_2', dtype=self.dtype, epsilon=self.epsilon)(x)
    m = checkpoint_name(mlp(y), 'mlp')
    x = x + self.adapter.change_mlp(self, y, m, shared=shared, mask=adapter_mask)
    return x, x if self.keep_hidden else None


class Transformer(nn.Module):
  """`size.layers` blocks whose parameters are stacked along a leading layer axis.

  The stack is the same whether the layers run as one scanned body (compiles once,
  `layers='scan'`) or unrolled (compiles longer, may run faster, `layers='unroll'`).
  """

  size: TowerSize
  activation: str
  causal: bool
  adapter: Additions
  dtype: jnp.dtype
  epsilon: float = 1e-5
  layers: str = 'scan'
  remat: str = 'none'
  kernel: Kernel = Kernel()
  keep_hidden: bool = False

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    *,
    shared: dict | None = None,
    adapter_mask: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Runs the blocks.

    Args:
      x: dtype[B, L, width].
      shared: parameters of the shared adapter, every leaf [size.layers, ...], or None.
      adapter_mask: bool[B, L], the positions that adapters attend to; None: all.

    Returns:
      dtype[B, L, width] and, with `keep_hidden`, the output of every block
      dtype[size.layers, B, L, width], otherwise None.
    """
    length = x.shape[1]
    kernel = self.kernel
    if kernel.name == 'pallas' and length % TILE:
      kernel = dataclasses.replace(kernel, valid=length)
      x, adapter_mask = (_whole_tiles(rows) for rows in (x, adapter_mask))
    block, policy = Block, REMAT[self.remat]
    if policy is not None:
      # A scanned body needs no barriers; unrolled, a GPU's compiler would keep all.
      block = nn.remat(Block, prevent_cse=self.layers == 'unroll', policy=policy)
    blocks = nn.scan(
      block,
      variable_axes={'params': 0},
      split_rngs={'params': True},
      in_axes=(0, nn.broadcast),
      length=self.size.layers,
      unroll=self.size.layers if self.layers == 'unroll' else 1,
    )(
      size=self.size,
      activation=self.activation,
      causal=self.causal,
      epsilon=self.epsilon,
      adapter=self.adapter,
      dtype=self.dtype,
      kernel=kernel,
      keep_hidden=self.keep_hidden,
      name='blocks',
    )
    x, hidden = blocks(x, shared, adapter_mask)
    return x[:, :length], None if hidden is None else hidden[:, :, :length]


def _whole_tiles(rows: jax.Array | None) -> jax.Array | None:
  """Rows [B, L, ...] or None, L padded with zeros to whole tiles."""
  if rows is None:
    return None
  padding = [(0, 0)] * rows.ndim
  padding[1] = 0, -rows.shape[1] % TILE
  return jnp.pad(rows, padding)
