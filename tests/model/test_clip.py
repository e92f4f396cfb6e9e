"""Both towers against a float64 reference, and what must not change the features."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.data.images import normalize

BACKBONE = {'adapter': None, 'shared_adapter': 'none'}


@pytest.fixture(scope='module')
def inputs(toy_batch):
  return np.asarray(normalize(toy_batch['images'])), toy_batch['tokens']


def encode(clip, params, images, tokens):
  return clip.encode_image(params, images), clip.encode_text(params, tokens)


def encode_fast(clip, params, inputs):
  return jax.jit(encode, static_argnums=0)(clip, params, *inputs)


def layer_norm(p, x):
  centred = x - x.mean(axis=-1, keepdims=True)
  return (
    centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5) * p['scale'] + p['bias']
  )


class SlowClip:
  """METHOD 1 in float64, one row at a time; `uses[tower]`: S of each layer, or None."""

  def __init__(self, clip, params, slow, *, uses):
    self.size, self.slow, self.uses = clip.size, slow, uses
    self.has_adapters = clip.adapter is not None
    self.masks_padding = clip.adapter_padding == 'padding'
    self.params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

  def image(self, image):
    p, side = self.params['image'], self.size.patch_size
    starts = range(0, self.size.image_size, side)
    patches = [
      image[y : y + side, x : x + side].ravel() for y in starts for x in starts
    ]
    x = np.stack(patches) @ p['patch_embedding']['kernel']
    x = np.concatenate([p['class_embedding'][None], x]) + p['position_embedding']
    everything = np.ones((len(x), len(x)), bool)
    x = self._blocks('image', layer_norm(p['ln_pre'], x), everything, everything)
    return self._unit(layer_norm(p['ln_post'], x[0]) @ p['projection'])

  def text(self, tokens):
    p, length = self.params['text'], len(tokens)
    end = max(range(length), key=lambda position: tokens[position])
    x = p['token_embedding'][tokens] + p['position_embedding'][:length]
    seen_by_adapters = np.ones((length, length), bool)
    if self.masks_padding:
      seen_by_adapters[:, end + 1 :] = False
    x = self._blocks('text', x, np.tril(seen_by_adapters | True), seen_by_adapters)
    return self._unit(layer_norm(p['ln_final'], x[end]) @ p['projection'])

  def _blocks(self, tower, x, seen, seen_by_adapters):
    size = getattr(self.size, tower)
    for layer in range(size.layers):
      p = self._layer(self.params[tower]['transformer']['blocks'], layer)
      x = x + self.slow['attention'](
        p['attention'], layer_norm(p['ln_1'], x), heads=size.heads, allowed=seen
      )
      m = self._mlp(p['mlp'], layer_norm(p['ln_2'], x))
      if self.has_adapters:
        m = self._adapted(p, m, self.uses[tower][layer], seen_by_adapters)
      x = x + m
    return x

  def _mlp(self, p, x):
    h = self.slow['dense'](p['up'], x)
    quick = self.size.activation == 'quick_gelu'
    h = h * self.slow['sigmoid'](1.702 * h) if quick else self.slow['gelu'](h)
    return self.slow['dense'](p['down'], h)

  def _adapted(self, p, m, use, allowed):
    shared = None if use is None else self._layer(self.params['shared_adapter'], use)
    alpha = self.slow['sigmoid'](p['block_gate'])
    adapted = self.slow['adapter'](
      p['adapter'], m, shared=shared, heads=2, allowed=allowed
    )
    return alpha * adapted + (1 - alpha) * m

  @staticmethod
  def _layer(stack, layer):
    return jax.tree.map(lambda leaf: leaf[layer], stack)

  @staticmethod
  def _unit(features):
    return features / np.sqrt((features**2).sum())


# Image layers, text layers, who shares, and the shared adapter that each layer uses.
SHARING = {
  'text': (2, 2, 'text', {'image': [None, None], 'text': [0, 1]}),
  'both': (2, 2, 'both', {'image': [0, 1], 'text': [0, 1]}),
  'none': (2, 2, 'none', {'image': [None, None], 'text': [None, None]}),
  'text, deeper': (1, 3, 'text', {'image': [None], 'text': [0, 1, 2]}),
  'both, deeper image': (3, 2, 'both', {'image': [0, 0, 1], 'text': [0, 1]}),
  'both, deeper text': (1, 3, 'both', {'image': [0], 'text': [0, 0, 0]}),
}


@pytest.mark.parametrize(
  ('sharing', 'padding'),
  [
    ('text', 'none'),
    ('text', 'padding'),
    ('both', 'none'),
    ('both', 'padding'),
    ('none', 'padding'),
    ('text, deeper', 'none'),
    ('both, deeper image', 'none'),
    ('both, deeper text', 'padding'),
  ],
)
def test_features_equal_the_reference(
  make_clip, random_params, inputs, slow, sharing, padding
):
  image_layers, text_layers, who, uses = SHARING[sharing]
  clip = make_clip(
    image_layers=image_layers,
    text_layers=text_layers,
    shared_adapter=who,
    adapter_padding=padding,
    activation='quick_gelu' if padding == 'padding' else 'gelu',
  )
  check_against_reference(clip, random_params(clip), inputs, slow, uses=uses)


@pytest.mark.parametrize('activation', ['gelu', 'quick_gelu'])
def test_plain_clip_equals_the_reference(
  make_clip, random_params, inputs, slow, activation
):
  clip = make_clip(activation=activation, **BACKBONE)
  check_against_reference(clip, random_params(clip), inputs, slow, uses=None)


def check_against_reference(clip, params, inputs, slow, *, uses):
  images, tokens = (rows[:4] for rows in inputs)
  reference = SlowClip(clip, params, slow, uses=uses)
  image_features, text_features = encode_fast(clip, params, (images, tokens))
  for row in range(4):
    expected = reference.image(np.float64(images[row]))
    np.testing.assert_allclose(image_features[row], expected, atol=2e-5)
    expected = reference.text(tokens[row])
    np.testing.assert_allclose(text_features[row], expected, atol=2e-5)


@pytest.fixture(scope='module')
def fresh(make_clip):
  """Two seeds' parameters of a model whose towers share adapters."""
  init = jax.jit(make_clip(shared_adapter='both').init)
  return [init(jax.random.key(seed)) for seed in (0, 1)]


@pytest.mark.parametrize(
  ('dtype', 'kinds'),
  [(jnp.float32, ('text', 'both', 'none')), (jnp.bfloat16, ('both',))],
)
def test_fresh_adapters_leave_every_bit_of_clip(
  make_clip, random_params, inputs, fresh, dtype, kinds
):
  plain = make_clip(dtype=dtype, **BACKBONE)
  backbone = random_params(plain)
  expected = encode_fast(plain, backbone, inputs)
  params = graft_backbone(fresh[0], backbone)
  for kind in kinds:
    clip = make_clip(shared_adapter=kind, dtype=dtype)
    computed = encode_fast(clip, params, inputs)
    jax.tree.map(np.testing.assert_array_equal, computed, expected)


def graft_backbone(params, backbone):
  """`params` with the leaves that plain CLIP has too."""
  return {
    name: graft_backbone(leaf, backbone[name])
    if isinstance(leaf, dict) and name in backbone
    else backbone.get(name, leaf)
    for name, leaf in params.items()
  }


def test_ways_to_run_the_layers_agree(make_clip, random_params, inputs):
  clip = make_clip()
  params = random_params(clip)
  weights = np.random.default_rng(3).normal(size=(8, 8)).astype(np.float32)

  def values_and_gradients(clip):
    def loss(params):
      features = clip.encode_text(params, inputs[1])
      return jnp.sum(weights * features), features

    (_, features), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return features, gradients

  expected = values_and_gradients(clip)
  for settings in ({'layers': 'unroll'}, {'remat': 'block'}):
    computed = values_and_gradients(dataclasses.replace(clip, **settings))
    for one, other in zip(*map(jax.tree.leaves, (computed, expected)), strict=True):
      np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


def test_the_kernel_reaches_every_attention(
  make_clip, random_params, inputs, monkeypatch
):
  used, attend = [], jax.nn.dot_product_attention

  def note(*arguments, implementation, **settings):
    used.append(implementation)
    return attend(*arguments, **settings)

  monkeypatch.setattr(jax.nn, 'dot_product_attention', note)
  clip = make_clip(kernel='cudnn', layers='unroll', adapter=None)
  jax.eval_shape(clip.encode_image, random_params(clip), inputs[0])
  jax.eval_shape(clip.encode_text, random_params(clip), inputs[1])
  assert set(used) == {'cudnn'}


def test_hidden_states_of_either_tower(make_clip, random_params, inputs):
  clip = make_clip(image_layers=3)
  image, text = jax.jit(clip.hidden_states)(random_params(clip), *inputs)
  assert image.shape == (3, 8, 5, 16)
  assert text.shape == (2, 8, 7, 12)


def test_bf16_gives_unit_f32_features_near_those_of_f32(
  make_clip, random_params, inputs
):
  clip = make_clip()
  params = random_params(clip)
  rounded = encode_fast(make_clip(dtype=jnp.bfloat16), params, inputs)
  for features, expected in zip(
    rounded, encode_fast(clip, params, inputs), strict=True
  ):
    assert features.dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    assert np.sum(features * expected, axis=1).min() > 0.999
    assert np.abs(features - expected).max() > 0


def test_masked_padding_makes_captions_independent_of_their_length(
  make_clip, random_params, inputs
):
  tokens = inputs[1][[0, 1, 2, 4]]
  longest = np.argmax(tokens, axis=1).max() + 1
  assert longest < tokens.shape[1]
  changes = {}
  for padding in ('padding', 'none'):
    clip = make_clip(adapter_padding=padding)
    encode_text = jax.jit(clip.encode_text)
    params = random_params(clip)
    full, cut = encode_text(params, tokens), encode_text(params, tokens[:, :longest])
    changes[padding] = np.abs(full - cut).max()
  assert changes['padding'] < 1e-6
  assert changes['none'] > 1e-3


def test_plain_clip_reads_nothing_behind_the_end_token(
  make_clip, random_params, inputs
):
  clip = make_clip(**BACKBONE)
  params, tokens = random_params(clip), inputs[1]
  behind = np.arange(7)[None] > np.argmax(tokens, axis=1)[:, None]
  encode_text = jax.jit(clip.encode_text)
  np.testing.assert_array_equal(
    encode_text(params, tokens), encode_text(params, np.where(behind, 7, tokens))
  )


def test_the_text_tower_pools_the_end_token(make_clip, random_params, inputs):
  # The end token counts wherever it stands, so that moving it moves the features.
  clip = make_clip(**BACKBONE)
  params, tokens = random_params(clip), inputs[1][3:4]
  moved = tokens.copy()
  moved[0, 4], moved[0, 5:] = 49, 0
  both = np.concatenate([tokens, moved])
  features = jax.jit(clip.encode_text)(params, both)
  assert np.abs(features[0] - features[1]).max() > 1e-3


def test_init_is_random_by_key_and_temperature_is_as_released(fresh):
  one, other = fresh
  assert one['temperature'] == np.float32(0.07)
  kernel = [p['shared_adapter']['down']['kernel'] for p in (one, other)]
  assert np.abs(kernel[0] - kernel[1]).min() > 0
  assert np.abs(kernel[0][0] - kernel[0][1]).min() > 0  # Each layer has its own.
  assert {leaf.dtype for leaf in jax.tree.leaves(one)} == {jnp.dtype(jnp.float32)}


def test_a_model_is_a_value(make_clip):
  # Equal models share what jit has compiled for one of them.
  assert make_clip() == make_clip()
  assert hash(make_clip()) == hash(make_clip())
