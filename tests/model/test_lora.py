"""LoRA against matrices that are changed by hand, and its merging."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.data.images import normalize
from harma_jax.model.attention import Attention
from harma_jax.model.lora import LoraSettings, merge_lora
from harma_jax.weights.names import paths_of

SETTINGS = LoraSettings(rank=3, alpha=1.5, mlp=True)


def test_query_and_value_change_by_the_product_of_their_factors(slow):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 5, 12)).astype(np.float32)
  module = Attention(3, jnp.float32, adapter=SETTINGS)
  shapes = jax.eval_shape(module.init, jax.random.key(0), x)['params']
  params = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape), shapes)
  computed = module.apply({'params': jax.tree.map(jnp.float32, params)}, x)
  kernel = params['qkv']['kernel'].copy()
  for name, columns in (('query', slice(0, 12)), ('value', slice(24, 36))):
    a, b = (params[f'lora_{name}'][factor]['kernel'] for factor in 'ab')
    kernel[:, columns] += 1.5 / 3 * a @ b
  changed = params | {'qkv': params['qkv'] | {'kernel': kernel}}
  for row, value in zip(x, computed, strict=True):
    allowed = np.ones((5, 5), bool)
    expected = slow['attention'](changed, row, heads=3, allowed=allowed)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope='module')
def inputs(toy_batch):
  return np.asarray(normalize(toy_batch['images'])), toy_batch['tokens']


@functools.partial(jax.jit, static_argnums=0)
def encode(clip, params, images, tokens):
  return clip.encode_image(params, images), clip.encode_text(params, tokens)


@pytest.mark.parametrize('layers', ['scan', 'unroll'])
@pytest.mark.parametrize('mlp', [False, True])
def test_merged_weights_compute_the_same(make_clip, random_params, inputs, layers, mlp):
  settings = dataclasses.replace(SETTINGS, mlp=mlp)
  clip = make_clip(adapter=settings, layers=layers)
  plain = make_clip(adapter=None, layers=layers)
  params = random_params(clip)
  merged = encode(plain, merge_lora(params, settings), *inputs)
  unmerged = encode(clip, params, *inputs)
  for one, other in zip(merged, unmerged, strict=True):
    np.testing.assert_allclose(one, other, atol=1e-5)
  unchanged = encode(plain, params, *inputs)
  assert np.abs(unchanged[1] - unmerged[1]).max() > 1e-3


def test_merging_gives_the_tree_of_plain_clip_and_changes_no_argument(
  make_clip, random_params
):
  clip, plain = make_clip(adapter=SETTINGS), make_clip(adapter=None)
  params = random_params(clip)
  before = jax.tree.map(np.array, params)
  merged = merge_lora(params, SETTINGS)
  shapes = jax.eval_shape(plain.init, jax.random.key(0))
  assert jax.tree.map(jnp.shape, merged) == jax.tree.map(jnp.shape, shapes)
  jax.tree.map(np.testing.assert_array_equal, params, before)
  kept = {
    path for path, leaf in paths_of(merged).items() if leaf is paths_of(params)[path]
  }
  changed = {'attention/qkv/kernel', 'mlp/up/kernel', 'mlp/down/kernel'}
  blocks = [f'{tower}/transformer/blocks' for tower in ('image', 'text')]
  assert set(paths_of(merged)) - kept == {f'{b}/{c}' for b in blocks for c in changed}


def test_merged_kernels_are_f32_where_frozen_ones_are_rounded(make_clip, random_params):
  params = random_params(make_clip(adapter=SETTINGS))
  rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
  merged = merge_lora(rounded, SETTINGS)['image']['transformer']['blocks']
  kernel, lora = (
    jax.tree.map(np.float64, rounded['image']['transformer']['blocks']['mlp'][name])
    for name in ('up', 'lora_up')
  )
  expected = kernel['kernel'] + 0.5 * lora['a']['kernel'] @ lora['b']['kernel']
  assert merged['mlp']['up']['kernel'].dtype == np.float32
  np.testing.assert_allclose(merged['mlp']['up']['kernel'], expected, atol=1e-5)
