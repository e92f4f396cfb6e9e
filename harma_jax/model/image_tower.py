"""The image tower of any family: patches, positions, blocks, one vector."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from harma_jax.model.additions import Additions
from harma_jax.model.pooling import AttentionPooling
from harma_jax.model.sizes import Size
from harma_jax.model.transformer import Transformer, layer_norm


class ImageTower(nn.Module):
  """A vision transformer; the family says how its rows become features."""

  size: Size
  transformer: dict
  adapter: Additions
  dtype: jnp.dtype

  @nn.compact
  def __call__(
    self, images: jax.Array, *, shared: dict | None = None
  ) -> tuple[jax.Array, jax.Array | None]:
    """Encodes f32[B, H, W, 3] to dtype[B, D] (not unit), and the hidden states."""
    family = self.size.family
    x = self._embed(images)
    if family.ln_pre:
      x = self._norm('ln_pre')(x)
    transformer = Transformer(
      self.size.image,
      epsilon=family.epsilon,
      adapter=self.adapter,
      **self.transformer,
      name='transformer',
    )
    x, hidden = transformer(x, shared=shared)
    if family.image_pooling == 'class':
      x = x[:, 0]
    x = self._norm('ln_post')(x)
    if family.image_pooling == 'attention':
      x = self._attention_pooling()(x)
    if family.image_output == 'projection':
      x = x @ self._matrix('projection', self.size.embedding).astype(self.dtype)
    return self.adapter.change_features(x), hidden

  def _embed(self, images: jax.Array) -> jax.Array:
    """dtype[B, positions, width] of patches, the class token's row first, if any."""
    width, family = self.size.image.width, self.size.family
    embed = nn.Dense(
      width, use_bias=family.patch_bias, dtype=self.dtype, name='patch_embedding'
    )
    x = embed(patches_of(images.astype(self.dtype), patch=self.size.patch_size))
    if family.class_token:
      first = self.param('class_embedding', self._init, (width,)).astype(self.dtype)
      first = jnp.broadcast_to(first[None, None], (len(x), 1, width))
      x = jnp.concatenate([first, x], axis=1)
    positions = self.param('position_embedding', self._init, (x.shape[1], width))
    return x + positions.astype(self.dtype)[None]

  def _attention_pooling(self) -> AttentionPooling:
    return AttentionPooling(
      self.size.image,
      activation=self.size.activation,
      epsilon=self.size.family.epsilon,
      dtype=self.dtype,
      name='pooling',
    )

  def _matrix(self, name: str, width: int) -> jax.Array:
    return self.param(name, self._init, (self.size.image.width, width))

  def _norm(self, name: str) -> nn.Module:
    return layer_norm(name, dtype=self.dtype, epsilon=self.size.family.epsilon)

  @property
  def _init(self) -> nn.initializers.Initializer:
    return nn.initializers.normal(self.size.image.width**-0.5)


def patches_of(images: jax.Array, *, patch: int) -> jax.Array:
  """[B, H, W, C] -> [B, H // patch * W // patch, patch * patch * C], row by row.

  What lies right of the last whole patch, or below it, is not seen.
  """
  batch, height, width, channels = images.shape
  rows, columns = height // patch, width // patch
  seen = images[:, : rows * patch, : columns * patch]
  grid = seen.reshape(batch, rows, patch, columns, patch, channels).swapaxes(2, 3)
  return grid.reshape(batch, -1, patch * patch * channels)
