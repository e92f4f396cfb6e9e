"""Ways to run the layers: the same features and gradients, less kept for them."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.ad_checkpoint import saved_residuals  # what print_saved_residuals prints
from jax.flatten_util import ravel_pytree

from harma_jax.data.images import normalize
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.adaptformer import AdaptFormerSettings
from harma_jax.model.additions import Additions
from harma_jax.model.attention import Kernel
from harma_jax.model.lora import LoraSettings
from harma_jax.model.sizes import TowerSize
from harma_jax.model.transformer import LAYERS, REMAT, Transformer
from harma_jax.stepping.optim import (
  label_leaves,
  merge_params,
  patterns_of,
  split_params,
)

# What is added, and what trains.
METHODS = {
  'harma, text': {},
  'harma, both': {'shared_adapter': 'both', 'adapter_padding': 'padding'},
  'lora': {'adapter': LoraSettings(rank=2, mlp=True)},
  'adaptformer': {'adapter': AdaptFormerSettings(bottleneck=4)},
  'full': {'adapter': None},
}


@functools.partial(jax.jit, static_argnums=0)
def features_and_gradients(clip, trainable, frozen, images, tokens):
  """Both towers' features, and the gradients of a product of them."""

  def encode(trainable):
    params = merge_params(trainable, frozen)
    return clip.encode_image(params, images), clip.encode_text(params, tokens)

  features, pull_back = jax.vjp(encode, trainable)
  weights = jnp.cos(jnp.arange(features[0].size)).reshape(features[0].shape)
  return features, pull_back((weights, weights[::-1]))[0]


def split(clip, params):
  shared = 'shared_adapter' in params
  if clip.adapter is None:
    patterns = patterns_of('full', shared=shared)
  else:
    patterns = patterns_of('adapters', shared=shared, adapters=clip.adapter.kind)
  return split_params(params, label_leaves(params, patterns))


@pytest.fixture(scope='module')
def expected(make_clip, random_params, toy_batch):
  """`expected(method)`: its model, arguments and what comes of them, kept whole."""
  inputs = normalize(toy_batch['images']), toy_batch['tokens']

  @functools.cache
  def make(method):
    clip = make_clip(**METHODS[method])
    # Halved: steep attention would amplify the rounding.
    params = jax.tree.map(lambda leaf: leaf / 2, random_params(clip))
    arguments = (*split(clip, params), *inputs)
    return clip, arguments, features_and_gradients(clip, *arguments)

  return make


# Every way for the method that uses most of the code, some for the others.
WAYS = [(remat, layers) for remat in REMAT for layers in LAYERS][1:]
SOME = [('products', 'scan'), ('outputs', 'unroll'), ('block', 'scan')]
CASES = [
  (method, *way)
  for method in METHODS
  for way in WAYS
  if method == 'harma, both' or way in SOME
]


@pytest.mark.parametrize(('method', 'remat', 'layers'), CASES)
def test_no_way_changes_features_or_gradients(expected, method, remat, layers):
  clip, arguments, (features, gradients) = expected(method)
  clip = dataclasses.replace(clip, remat=remat, layers=layers)
  computed = features_and_gradients(clip, *arguments)
  for one, other in zip(computed[0], features, strict=True):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
  assert missed(computed[1], gradients) <= 1e-6
  # A leaf whose parts cancel out is rounded by more.
  each = jax.tree.map(missed, computed[1], gradients)
  assert max(jax.tree.leaves(each)) <= 1e-5


def missed(tree, expected):
  """The norm of the difference, relative to that of what is expected."""
  (tree, _), (expected, _) = map(ravel_pytree, (tree, expected))
  return np.linalg.norm(tree - expected) / max(np.linalg.norm(expected), 1e-30)


BATCH, LENGTH, DEPTH, WIDTH = 5, 24, 3, 64
TOWER = TowerSize(width=WIDTH, layers=DEPTH, heads=4)


def kept(remat, *, layers, kernel, adapter):
  """Shape and dtype of what all blocks keep of a batch in bfloat16."""
  tower = Transformer(
    TOWER,
    'gelu',
    causal=True,
    adapter=adapter,
    dtype=jnp.bfloat16,
    layers=layers,
    remat=remat,
    kernel=kernel,
  )
  x = jnp.zeros((BATCH, LENGTH, WIDTH), jnp.bfloat16)
  params = jax.tree.map(
    lambda leaf: jnp.ones(leaf.shape), jax.eval_shape(tower.init, jax.random.key(0), x)
  )
  residuals = saved_residuals(lambda params, x: tower.apply(params, x)[0], params, x)
  return [
    (found.shape, found.dtype)
    for found, _ in residuals
    if found.shape[:2] == (DEPTH, BATCH)
  ]


def size_of(found):
  return sum(np.prod(shape) * dtype.itemsize for shape, dtype in found)


STATISTICS = 4 * [(1, 'float32')]  # means and factors of two norms
INPUT = [(WIDTH, 'bfloat16')]
# The width of what a block keeps for each position, by policy.
KEPT = {
  'products': (
    *STATISTICS,
    *INPUT,
    *((times * WIDTH, 'bfloat16') for times in (3, 1, 4, 1)),  # qkv, out, up, down
  ),
  'outputs': (*STATISTICS, *INPUT, *2 * [(WIDTH, 'bfloat16')]),
  'block': INPUT,
}


@pytest.mark.parametrize('layers', LAYERS)
@pytest.mark.parametrize('kernel', ['xla', 'plain', 'pallas'])
@pytest.mark.parametrize('remat', KEPT)
def test_a_block_keeps_what_its_policy_names(remat, layers, kernel):
  """No f32 but statistics, no probabilities, the inside of the MLP once at most."""
  found = kept(
    remat,
    layers=layers,
    kernel=Kernel(name=kernel, interpret=True),
    adapter=AdapterSettings(bottleneck=16, shared_bottleneck=8, heads=2),
  )
  of_positions = (DEPTH, BATCH, LENGTH)
  assert {shape[:-1] for shape, _ in found} == {of_positions}
  assert sorted((shape[-1], dtype.name) for shape, dtype in found) == sorted(
    KEPT[remat]
  )


@pytest.mark.parametrize('layers', LAYERS)
@pytest.mark.parametrize('adapter', [LoraSettings(rank=2, mlp=True), Additions()])
def test_each_policy_keeps_less_than_the_one_before(layers, adapter):
  sizes = [
    size_of(kept(remat, layers=layers, kernel=Kernel(), adapter=adapter))
    for remat in ('none', 'products', 'outputs', 'block')
  ]
  assert all(less < 0.5 * more for more, less in itertools.pairwise(sizes)), sizes


@pytest.mark.parametrize('layers', LAYERS)
def test_barriers_stand_where_a_compiler_could_undo_a_policy(layers):
  """A body that is scanned needs none; unrolled, what is computed again is the same."""
  tower = Transformer(
    TOWER,
    'gelu',
    causal=True,
    adapter=Additions(),
    dtype=jnp.float32,
    layers=layers,
    remat='products',
  )
  x = jnp.zeros((1, LENGTH, WIDTH))
  params = jax.eval_shape(tower.init, jax.random.key(0), x)
  gradient = jax.grad(lambda params: tower.apply(params, x)[0].sum())
  text = jax.jit(gradient).lower(params).as_text()
  assert ('optimization_barrier' in text) == (layers == 'unroll')
