"""The pre-LN transformer that both towers are made of."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from harma_jax.model.additions import Additions
from harma_jax.model.attention import Attention
from harma_jax.model.sizes import TowerSize

LAYERS = ('scan', 'unroll')
REMAT = ('none', 'block')


def quick_gelu(x: jax.Array) -> jax.Array:
  """`x * sigmoid(1.702 x)`, the approximation of OpenAI's CLIP."""
  return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: jax.Array) -> jax.Array:
  """GELU through the exact error function."""
  return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'gelu': gelu,
  'quick_gelu': quick_gelu,
}


def layer_norm(name: str, *, dtype: jnp.dtype) -> nn.LayerNorm:
  """Layer normalisation as CLIP has it: epsilon 1e-5, statistics in f32."""
  return nn.LayerNorm(epsilon=1e-5, dtype=dtype, name=name)


class Mlp(nn.Module):
  """Two dense layers around an activation, four times wider inside."""

  activation: str
  layers: int
  adapter: Additions
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    width = x.shape[-1]
    up = nn.initializers.normal((2 * width) ** -0.5)
    down = nn.initializers.normal((2 * width * self.layers) ** -0.5)
    up = nn.Dense(4 * width, kernel_init=up, dtype=self.dtype, name='up')
    down = nn.Dense(width, kernel_init=down, dtype=self.dtype, name='down')
    x = ACTIVATIONS[self.activation](self.adapter.change_dense('up', x, up(x)))
    return self.adapter.change_dense('down', x, down(x))


class Block(nn.Module):
  """`x += MHA(LN(x)); x += MLP(LN(x))`, with what the adapter adds to either."""

  size: TowerSize
  activation: str
  causal: bool
  adapter: Additions
  dtype: jnp.dtype
  kernel: str = 'xla'
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
      name='attention',
    )
    x = x + attention(layer_norm('ln_1', dtype=self.dtype)(x))
    mlp = Mlp(
      self.activation, self.size.layers, self.adapter, dtype=self.dtype, name='mlp'
    )
    y = layer_norm('ln_2', dtype=self.dtype)(x)
    m = mlp(y)
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
  layers: str = 'scan'
  remat: str = 'none'
  kernel: str = 'xla'
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
    block = nn.remat(Block, prevent_cse=False) if self.remat == 'block' else Block
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
      adapter=self.adapter,
      dtype=self.dtype,
      kernel=self.kernel,
      keep_hidden=self.keep_hidden,
      name='blocks',
    )
    return blocks(x, shared, adapter_mask)
