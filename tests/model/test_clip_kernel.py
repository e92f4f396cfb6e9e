"""The whole model with the TPU kernel of attention, interpreted, beside XLA's own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from harma_jax.data.images import normalize
from harma_jax.devices.mesh import make_mesh
from harma_jax.model import clip as clip_module
from harma_jax.model.attention import Kernel
from harma_jax.stepping.step import encode_samples, weight_products

# Of a toy whose 5 positions and 7 tokens are no whole tiles.
CASES = {
  'text': {'image_layers': 1, 'remat': 'products'},
  'both, padding': {'shared_adapter': 'both', 'adapter_padding': 'padding'},
  'plain': {'adapter': None, 'shared_adapter': 'none', 'remat': 'outputs'},
}


@pytest.fixture
def interpreted(monkeypatch):
  """Models compute the kernel without a TPU."""
  monkeypatch.setattr(clip_module, 'Kernel', functools.partial(Kernel, interpret=True))


@pytest.fixture(scope='module')
def inputs(toy_batch):
  return normalize(toy_batch['images']), toy_batch['tokens']


def halved(params):
  """Less steep attention, which amplifies rounding less."""
  return jax.tree.map(lambda leaf: leaf / 2, params)


def features_and_gradients(clip, params, images, tokens):
  def encode(params):
    return clip.encode_image(params, images), clip.encode_text(params, tokens)

  features, pull_back = jax.vjp(encode, params)
  weights = jnp.cos(jnp.arange(features[0].size)).reshape(features[0].shape)
  return features, pull_back((weights, weights[::-1]))[0]


def distance(tree, expected):
  """The norm of the difference, relative to that of what is expected."""
  (tree, _), (expected, _) = map(ravel_pytree, (tree, expected))
  return np.linalg.norm(tree - expected) / max(np.linalg.norm(expected), 1e-30)


def both(function, clip, *arguments, mesh=None):
  """What the TPU kernel makes of it, which must be in use, and what XLA does."""
  of_tpu = dataclasses.replace(clip, kernel='pallas', mesh=mesh)
  compute = jax.jit(function, static_argnums=0)
  assert 'pallas_call' in str(compute.trace(of_tpu, *arguments).jaxpr)
  return compute(of_tpu, *arguments), compute(clip, *arguments)


@pytest.mark.usefixtures('interpreted')
@pytest.mark.parametrize('case', CASES)
def test_features_and_gradients_are_those_of_xla(
  make_clip, random_params, inputs, case
):
  clip = make_clip(**CASES[case])
  params = halved(random_params(clip))
  computed, expected = both(features_and_gradients, clip, params, *inputs)
  assert distance(computed[0], expected[0]) <= 1e-6
  assert distance(computed[1], expected[1]) <= 2e-6
  each = jax.tree.map(distance, computed[1], expected[1])
  assert max(jax.tree.leaves(each)) <= 2e-5


@pytest.mark.usefixtures('interpreted')
def test_hidden_states_have_the_positions_that_there_are(
  make_clip, random_params, inputs
):
  clip = make_clip(**CASES['both, padding'])
  params = halved(random_params(clip))

  def hidden_states(clip, params, images, tokens):
    return clip.hidden_states(params, images, tokens)

  computed, expected = both(hidden_states, clip, params, *inputs)
  assert [rows.shape for rows in computed] == [(2, 8, 5, 16), (2, 8, 7, 12)]
  for rows, others in zip(computed, expected, strict=True):
    np.testing.assert_allclose(rows, others, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures('interpreted')
def test_half_precision_is_as_near_to_f32_as_xla(make_clip, random_params, inputs):
  clip = make_clip(image_layers=1, text_layers=1, **CASES['both, padding'])
  params = halved(random_params(clip))
  full = jax.jit(features_and_gradients, static_argnums=0)(clip, params, *inputs)
  half = dataclasses.replace(clip, dtype=jnp.bfloat16)
  found = both(features_and_gradients, half, params, *inputs)
  (of_features, of_gradients), (xla_features, xla_gradients) = (
    [distance(*parts) for parts in zip(each, full, strict=True)] for each in found
  )
  assert 0 < of_features <= 1.5 * xla_features < 0.05
  assert 0 < of_gradients <= 1.5 * xla_gradients < 0.1


@pytest.mark.usefixtures('interpreted')
def test_angles_over_the_weights_are_those_of_xla(make_clip, random_params, toy_batch):
  """Samples one by one, mapped over, on eight devices: rows that they do not divide."""
  clip = make_clip(image_layers=1, text_layers=1, adapter=None)
  params = halved(random_params(clip))
  tokens = np.stack([toy_batch['tokens'], toy_batch['tokens'][::-1]], axis=1)
  rng = np.random.default_rng(4)
  gradients = [tuple(np.float32(rng.normal(size=(3, 8, 8)))) for _ in range(2)]

  def products(clip, params, images, tokens, gradients):
    return weight_products(
      lambda params, *inputs: encode_samples(clip, params, *inputs),
      params,
      (images, tokens),
      chunk=3,
    )(gradients)

  arguments = params, toy_batch['images'], tokens, gradients
  computed, expected = both(products, clip, *arguments, mesh=make_mesh(fsdp=2))
  for one, other in zip(computed, expected, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())
