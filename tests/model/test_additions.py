"""What all methods promise: fresh weights change nothing, a formula counts them."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.data.images import normalize
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.adaptformer import AdaptFormerSettings
from harma_jax.model.additions import Additions
from harma_jax.model.clip_adapter import ClipAdapterSettings
from harma_jax.model.families import CLIP, SIGLIP
from harma_jax.model.lora import LoraSettings
from harma_jax.model.sizes import TowerSize
from harma_jax.model.transformer import Transformer
from harma_jax.stepping.optim import count, label_leaves, patterns_of, split_params
from harma_jax.weights.load import is_new
from harma_jax.weights.names import paths_of, tree_of

HARMA = AdapterSettings(bottleneck=8, shared_bottleneck=4, heads=2)


def attention(width):
  return 4 * width * width + 4 * width


def harma_count(*, attends):
  """Two gates, down, attention, up a layer; and for text S, with a gate of its own."""
  gated = [8 * w + 8 + attends * attention(8) + 8 * w + w + 2 for w in (16, 12)]
  shared = 8 * 4 + 4 + attends * attention(4) + 4 * 8 + 8 + 1
  return 2 * (sum(gated) + shared)


# Settings, kind of `model.adapters`, and how much is added to towers 16 and 12 wide,
# both of 2 layers, with features of 8.
CASES = {
  'harma': (HARMA, 'harma', harma_count(attends=1)),
  'harma without attention': (
    dataclasses.replace(HARMA, attention=False),
    'harma',
    harma_count(attends=0),
  ),
  'lora': (LoraSettings(rank=3), 'lora', 2 * 4 * 3 * (16 + 12)),
  'lora mlp': (LoraSettings(rank=3, mlp=True), 'lora', 2 * (4 + 10) * 3 * (16 + 12)),
  'adaptformer': (
    AdaptFormerSettings(bottleneck=5),
    'adaptformer',
    2 * sum(2 * 5 * width + 5 + width for width in (16, 12)),
  ),
  'clip_adapter': (ClipAdapterSettings(reduction=2), 'clip_adapter', 2 * 2 * 8 * 4),
}
# SigLIP's features are as wide as its image tower.
OF_SIGLIP = CASES | {
  'clip_adapter': (ClipAdapterSettings(reduction=2), 'clip_adapter', 2 * 2 * 16 * 8)
}


@pytest.fixture(params=CASES)
def case(request, make_clip):
  settings, kind, added = CASES[request.param]
  return make_clip(adapter=settings), kind, added


@pytest.fixture(params=[CLIP, SIGLIP], ids=lambda family: family.name)
def make_of_family(request, make_clip):
  """`make_clip` of a family."""
  return functools.partial(make_clip, family=request.param)


@pytest.fixture(params=CASES)
def either(request, make_of_family):
  """A case of a family."""
  is_siglip = make_of_family.keywords['family'] is SIGLIP
  settings, kind, added = (OF_SIGLIP if is_siglip else CASES)[request.param]
  return make_of_family(adapter=settings), kind, added


@pytest.fixture(scope='module')
def inputs(toy_batch):
  return np.asarray(normalize(toy_batch['images'])), toy_batch['tokens']


@functools.partial(jax.jit, static_argnums=0)
def encode(clip, params, images, tokens):
  return clip.encode_image(params, images), clip.encode_text(params, tokens)


def fresh_of(clip):
  """What a method adds, new, by path; the rest is random by other means, and faster."""

  def new(key):
    return {p: leaf for p, leaf in paths_of(clip.init(key)).items() if is_new(p)}

  return jax.jit(new)(jax.random.key(1))


def labelled(clip, kind):
  """Trainable and frozen shapes."""
  shapes = jax.eval_shape(clip.init, jax.random.key(0))
  patterns = patterns_of('adapters', shared='shared_adapter' in shapes, adapters=kind)
  return split_params(shapes, label_leaves(shapes, patterns))


def test_what_is_added_trains_with_the_temperature_alone(either, make_of_family):
  clip, kind, added = either
  trainable, frozen = labelled(clip, kind)
  beside = {'temperature', 'logit_bias'} if clip.size.logit_bias else {'temperature'}
  assert {path for path in paths_of(trainable) if not is_new(path)} == beside
  assert count(trainable) == added + len(beside)
  plain = jax.eval_shape(make_of_family(adapter=None).init, jax.random.key(0))
  assert set(paths_of(frozen)) == set(paths_of(plain)) - beside
  assert not any(map(is_new, paths_of(plain)))


@pytest.mark.parametrize('layers', ['scan', 'unroll'])
def test_step_0_is_the_backbone(either, make_of_family, random_params, inputs, layers):
  clip = dataclasses.replace(either[0], layers=layers)
  plain = make_of_family(adapter=None, layers=layers)
  backbone = random_params(plain)
  params = tree_of(fresh_of(clip) | paths_of(backbone))
  computed = encode(clip, params, *inputs)
  jax.tree.map(
    np.testing.assert_array_equal, computed, encode(plain, backbone, *inputs)
  )


def test_scan_and_unroll_agree_and_learned_weights_matter(
  case, make_clip, random_params, inputs
):
  clip = case[0]
  params = random_params(clip)
  scanned = encode(clip, params, *inputs)
  unrolled = encode(dataclasses.replace(clip, layers='unroll'), params, *inputs)
  plain = encode(make_clip(adapter=None), params, *inputs)
  for one, other, bare in zip(scanned, unrolled, plain, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)
    assert np.abs(one - bare).max() > 1e-3


def test_fresh_weights_learn_in_both_towers(case, random_params, inputs):
  clip = case[0]
  weights = np.random.default_rng(0).normal(size=(2, 8, 8)).astype(np.float32)

  def loss(params):
    features = encode(clip, params, *inputs)
    return sum(jnp.sum(w * f) for w, f in zip(weights, features, strict=True))

  params = tree_of(paths_of(random_params(clip)) | fresh_of(clip))
  gradient = paths_of(jax.jit(jax.grad(loss))(params))
  for tower in ('image', 'text'):
    added = [path for path in gradient if is_new(path) and path.startswith(tower)]
    assert any(gradient[path].any() for path in added)


class Seen(Additions):
  """Puts what the MLP gets in place of what it returns."""

  def change_mlp(self, block, x, m, *, shared, mask):
    return x


class Nothing(Additions):
  """Takes the MLP away."""

  def change_mlp(self, block, x, m, *, shared, mask):
    return jnp.zeros_like(m)


def test_a_branch_beside_the_mlp_gets_what_the_mlp_gets():
  size = TowerSize(width=12, layers=1, heads=3)
  x = jax.random.normal(jax.random.key(0), (2, 4, 12))

  def run(additions, params=None):
    module = Transformer(size, 'gelu', False, additions, jnp.float32)
    params = params or module.init(jax.random.key(1), x)
    return params, module.apply(params, x)[0]

  params, seen = run(Seen())
  given = seen - run(Nothing(), params)[1]
  np.testing.assert_allclose(given.mean(axis=-1), 0, atol=1e-5)
  np.testing.assert_allclose(given.std(axis=-1), 1, atol=1e-3)


class Hooked(nn.Module):
  """The hooks of settings, as a tower calls them."""

  settings: Additions

  @nn.compact
  def __call__(self, x, m):
    m = self.settings.change_mlp(self, x, m, shared=None, mask=None)
    return m, self.settings.change_features(m[:, 0])


def randomly(settings, x, m):
  """The hooks' results with random weights, and these."""
  module = Hooked(settings)
  rng = np.random.default_rng(3)
  shapes = jax.eval_shape(module.init, jax.random.key(0), x, m)
  params = jax.tree.map(lambda leaf: np.float32(rng.normal(size=leaf.shape)), shapes)
  return module.apply(params, x, m), jax.tree.map(np.float64, params['params'])


@pytest.fixture(scope='module')
def streams():
  return np.random.default_rng(4).normal(size=(2, 2, 3, 8)).astype(np.float32)


def test_adaptformer_equals_its_formula(slow, streams):
  x, m = streams
  settings = AdaptFormerSettings(bottleneck=5, scale=0.3)
  (changed, features), params = randomly(settings, x, m)
  p = params['adaptformer']
  beside = slow['dense'](p['up'], np.maximum(slow['dense'](p['down'], x), 0))
  np.testing.assert_allclose(changed, m + 0.3 * beside, rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(features, changed[:, 0])


def test_clip_adapter_mixes_in_the_ratio(streams):
  x, m = streams
  (unchanged, features), params = randomly(ClipAdapterSettings(ratio=0.2), x, m)
  np.testing.assert_array_equal(unchanged, m)
  down, up = (params['clip_adapter'][name]['kernel'] for name in ('down', 'up'))
  first = m[:, 0].astype(np.float64)
  expected = 0.2 * np.maximum(first @ down, 0) @ up + 0.8 * first
  expected /= np.linalg.norm(expected, axis=1, keepdims=True)
  computed = features / np.linalg.norm(features, axis=1, keepdims=True)
  np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-5)
