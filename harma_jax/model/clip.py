"""CLIP as two pure functions, `encode_image` and `encode_text`, of one parameter tree.

The tree:
  image/...           the vision transformer; what an adapter adds is inside
  text/...            the text transformer, likewise
  shared_adapter/...  HarMA's, that layers of both modalities may use
  temperature         f32[], divides the similarities
  logit_scale         f32[], what CLIP was trained with, as a logarithm that multiplies;
                      only kept for those who get the weights
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from harma_jax.model.adapter import SharedAdapter
from harma_jax.model.additions import Additions
from harma_jax.model.attention import Kernel
from harma_jax.model.sizes import Size
from harma_jax.model.transformer import Transformer, layer_norm

FIRST_TEMPERATURE = 0.07


class ImageTower(nn.Module):
  """A vision transformer; the class token's output is projected."""

  size: Size
  transformer: dict
  adapter: Additions
  dtype: jnp.dtype

  @nn.compact
  def __call__(
    self, images: jax.Array, *, shared: dict | None = None
  ) -> tuple[jax.Array, jax.Array | None]:
    """Encodes f32[B, H, W, 3] to dtype[B, D] (not unit), and the hidden states."""
    width = self.size.image.width
    scaled = nn.initializers.normal(width**-0.5)
    embed = nn.Dense(width, use_bias=False, dtype=self.dtype, name='patch_embedding')
    x = embed(_patches(images.astype(self.dtype), patch=self.size.patch_size))
    first = self.param('class_embedding', scaled, (width,)).astype(self.dtype)
    first = jnp.broadcast_to(first[None, None], (len(x), 1, width))
    x = jnp.concatenate([first, x], axis=1)
    positions = self.param('position_embedding', scaled, (x.shape[1], width))
    x = layer_norm('ln_pre', dtype=self.dtype)(x + positions.astype(self.dtype)[None])
    transformer = Transformer(
      self.size.image, adapter=self.adapter, **self.transformer, name='transformer'
    )
    x, hidden = transformer(x, shared=shared)
    x = layer_norm('ln_post', dtype=self.dtype)(x[:, 0])
    projection = self.param('projection', scaled, (width, self.size.embedding))
    features = x @ projection.astype(self.dtype)
    return self.adapter.change_features(features), hidden


class TextTower(nn.Module):
  """A causal transformer; the output at the end token is projected."""

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
    x = x + positions.astype(self.dtype)[None, : tokens.shape[1]]
    transformer = Transformer(
      self.size.text, adapter=self.adapter, **self.transformer, name='transformer'
    )
    x, hidden = transformer(x, shared=shared, adapter_mask=adapter_mask)
    x = jnp.take_along_axis(x, _end(tokens)[:, None, None], axis=1)[:, 0]
    x = layer_norm('ln_final', dtype=self.dtype)(x)
    projection = self.param(
      'projection', nn.initializers.normal(width**-0.5), (width, self.size.embedding)
    )
    features = x @ projection.astype(self.dtype)
    return self.adapter.change_features(features), hidden


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """How to compute CLIP's features; holds no parameters.

  Attributes:
    size: shapes and activation.
    adapter: what is added to the towers; None is plain CLIP.
    shared_adapter: who uses the shared adapter: `text` (HarMA's released code), `both`
      (the paper), `none`. Where the towers differ in depth, the shallower one's depth
      is the number of shared adapters, and neighbouring layers of the deeper share.
    adapter_padding: `none`: adapters attend to all positions of a caption (released
      code); `padding`: to those up to the end token, so that padding has no effect.
    layers: `scan` or `unroll`.
    remat: one of `REMAT`, what a block keeps for its backward pass.
    kernel: of attention, `xla`, `cudnn` or `pallas`.
    mesh: of the devices over which rows are cut, where the kernel must know.
    dtype: of the towers' arithmetic; parameters keep theirs, features are f32.
  """

  size: Size
  adapter: Additions | None = None
  shared_adapter: str = 'text'
  adapter_padding: str = 'none'
  layers: str = 'scan'
  remat: str = 'none'
  kernel: str = 'xla'
  mesh: Mesh | None = None
  dtype: jnp.dtype = jnp.float32

  def init(self, key: jax.Array) -> dict:
    """Random parameters f32; fresh adapters leave the features unchanged."""
    image_key, text_key, shared_key = jax.random.split(key, 3)
    params = {
      'temperature': jnp.float32(FIRST_TEMPERATURE),
      'logit_scale': -jnp.log(jnp.float32(FIRST_TEMPERATURE)),
    }
    if self._shares:
      init = SharedAdapter(self.adapter, self.dtype).init
      a = jnp.zeros((1, 1, self.adapter.bottleneck))
      keys = jax.random.split(shared_key, self.n_shared)
      params['shared_adapter'] = jax.vmap(lambda key: init(key, a)['params'])(keys)
    side, length = self.size.image_size, self.size.context_length
    params['image'] = self._image_tower().init(
      image_key, jnp.zeros((1, side, side, 3)), shared=self._shared(params, 'image')
    )['params']
    params['text'] = self._text_tower().init(
      text_key, jnp.zeros((1, length), jnp.int32), shared=self._shared(params, 'text')
    )['params']
    return params

  def encode_image(self, params: dict, images: jax.Array) -> jax.Array:
    """Unit features f32[B, D] of normalised images f32[B, side, side, 3]."""
    features, _ = self._image_tower().apply(
      {'params': params['image']}, images, shared=self._shared(params, 'image')
    )
    return unit(features)

  def encode_text(self, params: dict, tokens: jax.Array) -> jax.Array:
    """Unit features f32[B, D] of tokens i32[B, L]; the end token has the highest id."""
    features, _ = self._apply_text(params, tokens, keep_hidden=False)
    return unit(features)

  def hidden_states(
    self, params: dict, images: jax.Array, tokens: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Outputs of all blocks: dtype[layers, B, positions, width], image and text."""
    _, image = self._image_tower(keep_hidden=True).apply(
      {'params': params['image']}, images, shared=self._shared(params, 'image')
    )
    _, text = self._apply_text(params, tokens, keep_hidden=True)
    return image, text

  @property
  def n_shared(self) -> int:
    """How many shared adapters there are."""
    if self.shared_adapter == 'text':
      return self.size.text.layers
    return min(self.size.text.layers, self.size.image.layers)

  @property
  def _shares(self) -> bool:
    return self._additions.shares and self.shared_adapter != 'none'

  @property
  def _additions(self) -> Additions:
    return self.adapter or Additions()

  def _apply_text(self, params, tokens, *, keep_hidden):
    mask = None
    if self.adapter_padding == 'padding':
      mask = jnp.arange(tokens.shape[1])[None] <= _end(tokens)[:, None]
    return self._text_tower(keep_hidden=keep_hidden).apply(
      {'params': params['text']},
      tokens,
      shared=self._shared(params, 'text'),
      adapter_mask=mask,
    )

  def _shared(self, params: dict, tower: str) -> dict | None:
    if not self._shares or (tower == 'image' and self.shared_adapter == 'text'):
      return None
    depth = getattr(self.size, tower).layers
    if depth == self.n_shared:
      return params['shared_adapter']
    layer = shared_layer(jnp.arange(depth), n_shared=self.n_shared, depth=depth)
    return jax.tree.map(lambda leaf: leaf[layer], params['shared_adapter'])

  def _image_tower(self, *, keep_hidden: bool = False) -> ImageTower:
    transformer = self._transformer(causal=False, keep_hidden=keep_hidden)
    return ImageTower(self.size, transformer, self._additions, dtype=self.dtype)

  def _text_tower(self, *, keep_hidden: bool = False) -> TextTower:
    transformer = self._transformer(causal=True, keep_hidden=keep_hidden)
    return TextTower(self.size, transformer, self._additions, dtype=self.dtype)

  def _transformer(self, **settings) -> dict:
    return dict(
      activation=self.size.activation,
      dtype=self.dtype,
      layers=self.layers,
      remat=self.remat,
      kernel=Kernel(name=self.kernel, mesh=self.mesh),
      **settings,
    )


def shared_layer(layer, *, n_shared: int, depth: int):
  """Which of `n_shared` shared adapters layer `layer` of a tower `depth` deep uses."""
  return layer * n_shared // depth


def unit(features: jax.Array) -> jax.Array:
  """Rows of length 1, computed and returned in f32."""
  features = features.astype(jnp.float32)
  return features / jnp.linalg.norm(features, axis=-1, keepdims=True)


def _end(tokens: jax.Array) -> jax.Array:
  return jnp.argmax(tokens, axis=-1)


def _patches(images: jax.Array, *, patch: int) -> jax.Array:
  """[B, H, W, C] -> [B, H/patch * W/patch, patch * patch * C], row by row."""
  batch, height, width, channels = images.shape
  grid = images.reshape(
    batch, height // patch, patch, width // patch, patch, channels
  ).swapaxes(2, 3)
  return grid.reshape(batch, -1, patch * patch * channels)


@functools.partial(jax.jit, static_argnums=0)
def init_params(model: Clip, key: jax.Array) -> dict:
  """`model.init(key)`, traced and compiled once for all models that are equal."""
  return model.init(key)
