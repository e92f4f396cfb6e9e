"""Two pure functions, `encode_image` and `encode_text`, of one parameter tree.

The tree:
  image/...           the vision transformer; what an adapter adds is inside
  text/...            the text transformer, likewise
  shared_adapter/...  HarMA's, that layers of both modalities may use
  temperature         f32[], divides the similarities
  logit_bias          f32[], is added to them then, in families that have one (SigLIP)
  logit_scale         f32[], what it was trained with, as a logarithm that multiplies;
                      only kept for those who get the weights
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from harma_jax.model.adapter import SharedAdapter
from harma_jax.model.additions import Additions
from harma_jax.model.attention import Kernel
from harma_jax.model.image_tower import ImageTower
from harma_jax.model.pooling import end_of
from harma_jax.model.sizes import Size
from harma_jax.model.text_tower import TextTower

FIRST_TEMPERATURE = 0.07
# Where similarities get a bias too (arXiv 2303.15343).
FIRST_TEMPERATURE_WITH_BIAS, FIRST_BIAS = 0.1, -10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """How to compute the features of CLIP or of another family; holds no parameters.

  Attributes:
    size: shapes, family and activation.
    adapter: what is added to the towers; None is the plain backbone.
    shared_adapter: who uses the shared adapter: `text` (HarMA's released code), `both`
      (the paper), `none`. Where the towers differ in depth, the shallower one's depth
      is the number of shared adapters, and neighbouring layers of the deeper share.
    adapter_padding: `none`: adapters attend to all positions of a caption (released
      code); `padding`: to those up to the end token, so that padding has no effect.
      Where the towers see the padding (SigLIP) it is no matter: adapters see it too.
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
    has_bias = self.size.logit_bias
    first = FIRST_TEMPERATURE_WITH_BIAS if has_bias else FIRST_TEMPERATURE
    params = {
      'temperature': jnp.float32(first),
      'logit_scale': -jnp.log(jnp.float32(first)),
    }
    if has_bias:
      params['logit_bias'] = jnp.float32(FIRST_BIAS)
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
    """Unit features f32[B, D] of tokens i32[B, L].

    CLIP's end token has the highest id. With `size.fixed_length` L is the context.
    """
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
    if self.adapter_padding == 'padding' and not self.size.fixed_length:
      mask = jnp.arange(tokens.shape[1])[None] <= end_of(tokens)[:, None]
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
    transformer = self._transformer(
      activation=self.size.activation, causal=False, keep_hidden=keep_hidden
    )
    return ImageTower(self.size, transformer, self._additions, dtype=self.dtype)

  def _text_tower(self, *, keep_hidden: bool = False) -> TextTower:
    size = self.size
    transformer = self._transformer(
      activation=size.text_activation or size.activation,
      causal=size.family.causal,
      keep_hidden=keep_hidden,
    )
    return TextTower(self.size, transformer, self._additions, dtype=self.dtype)

  def _transformer(self, **settings) -> dict:
    return dict(
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


@functools.partial(jax.jit, static_argnums=0)
def init_params(model: Clip, key: jax.Array) -> dict:
  """`model.init(key)`, traced and compiled once for all models that are equal."""
  return model.init(key)
