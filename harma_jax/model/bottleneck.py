"""Two dense layers, narrow between them: what most adapters are made of."""

import flax.linen as nn
import jax
import jax.numpy as jnp

# The default of `torch.nn.Linear`: uniform within 1 / sqrt(inputs).
UNIFORM = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


class Bottleneck(nn.Module):
  """`up(relu(down(x)))` as wide as x dtype[..., width]; zero for fresh weights."""

  inner: int
  use_bias: bool
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    settings = {'use_bias': self.use_bias, 'dtype': self.dtype}
    down = nn.Dense(self.inner, kernel_init=UNIFORM, name='down', **settings)
    zeros = nn.initializers.zeros
    up = nn.Dense(x.shape[-1], kernel_init=zeros, name='up', **settings)
    return up(jax.nn.relu(down(x)))
