"""The text tower of any family: tokens, positions, blocks, one vector."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from harma_jax.model.additions import Additions
from harma_jax.model.dense import Dense
from harma_jax.model.pooling import pool_text
from harma_jax.model.sizes import Size
from harma_jax.model.transformer import Transformer, layer_norm


class TextTower(nn.Module):
  """A transformer, causal or not; the output of one position becomes the features."""

  size: Size
  transformer: dict
  adapter: Additions
  dtype: jnp.dtype

  @nn.compact
  def __call__(
    self,
    tokens: jax.Array,
    *,
    shared: dict | None = None,
    adapter_mask: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Encodes i32[B, L] to dtype[B, D] (not unit), and the hidden states."""
    family = self.size.family
    transformer = Transformer(
      self.size.text,
      epsilon=family.epsilon,
      adapter=self.adapter,
      **self.transformer,
      name='transformer',
    )
    x, hidden = transformer(
      self._embed(tokens), shared=shared, adapter_mask=adapter_mask
    )
    x = pool_text(x, tokens, pooling=family.text_pooling)
    x = layer_norm('ln_final', dtype=self.dtype, epsilon=family.epsilon)(x)
    return self.adapter.change_features(self._output(x)), hidden

  def _embed(self, tokens: jax.Array) -> jax.Array:
    width = self.size.text.width
    words = self.param(
      'token_embedding', nn.initializers.normal(0.02), (self.size.vocabulary, width)
    )
    positions = self.param(
      'position_embedding',
      nn.initializers.normal(0.01),
      (self.size.context_length, width),
    )
    x = words.astype(self.dtype)[tokens]
    return x + positions.astype(self.dtype)[None, : tokens.shape[1]]

  def _output(self, x: jax.Array) -> jax.Array:
    width, embedding = self.size.text.width, self.size.embedding
    init = nn.initializers.normal(width**-0.5)
    if self.size.family.text_output == 'head':
      return Dense(embedding, self.dtype, kernel_init=init, name='head')(x)
    return x @ self.param('projection', init, (width, embedding)).astype(self.dtype)
