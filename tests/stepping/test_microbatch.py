"""Towers that take a batch in parts: gradient of the whole, memory of a part."""

import collections
import functools
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harma_jax.devices.mesh import batch_sharding, make_mesh, place_batch
from harma_jax.model.preprocessing import OPENAI
from harma_jax.objective.alignment import make_objective
from harma_jax.objective.head import harmonized_head, plain_head
from harma_jax.stepping.microbatch import at_once, make_in_parts
from harma_jax.stepping.optim import label_leaves, patterns_of, split_params
from harma_jax.stepping.step import (
  compile_step,
  init_state,
  make_train_step,
  place_state,
)

PAIRS = 32
CASES = {
  'plain': {},
  'three captions': {'captions': 3},
  'harmonized captions': {'captions': 2, 'pair': 'captions'},
  'uniformity': {'pair': 'uniformity', 'realign': False},
  'over the weights': {'captions': 2, 'pair': 'captions', 'chunk': 4},
  'sigmoid': {'contrastive': 'sigmoid'},
  'sigmoid, harmonized': {
    'contrastive': 'sigmoid',
    'captions': 2,
    'pair': 'captions',
  },
  'fewer images than pairs': {'places': 24},
  'fewer images than run together': {'places': 8},
}
QUICK = ('plain', 'sigmoid', 'harmonized captions', 'fewer images than pairs')
HARMONIZED = {
  'realign': True,
  'curriculum': 'drop',
  'indicator': 'conflict',
  'threshold': (0.3, 0.3),
  'unit': 'share',
  'start_step': 0,
  'anneal_steps': 1,
  'renormalize': True,
  'seed': 0,
}


class TwoLayers:
  """Towers of two layers, in the precision of their weights."""

  size = types.SimpleNamespace(preprocessing=OPENAI)

  def init(self, dtype, *, has_bias=False):
    rng = np.random.default_rng(0)
    shapes = {'image': [(12, 6), (6, 5)], 'text': [(50, 6), (6, 5)], 'shared': [(6, 6)]}
    params = {
      name: [jnp.asarray(rng.normal(size=shape), dtype) for shape in each]
      for name, each in shapes.items()
    }
    scalars = {'temperature': 0.07} | ({'logit_bias': -3.0} if has_bias else {})
    return params | {name: jnp.asarray(x, dtype) for name, x in scalars.items()}

  def encode_image(self, params, images):
    # They come in f32, whose last digits two programs may round differently.
    rows = jnp.round(4 * images.reshape(len(images), -1)) / 4
    rows = rows.astype(params['image'][0].dtype)
    return self._features(params, params['image'], rows)

  def encode_text(self, params, tokens):
    words = jax.nn.one_hot(tokens, 50, dtype=params['text'][0].dtype)
    return self._features(params, params['text'], words.sum(axis=1))

  @staticmethod
  def _features(params, layers, rows):
    hidden = jnp.tanh(rows @ layers[0])
    hidden = hidden + jnp.tanh(hidden @ params['shared'][0])
    features = hidden @ layers[1]
    return features / jnp.linalg.norm(features, axis=1, keepdims=True)


def make_batch(*, side, captions=1, places=0, words=48):
  rng = np.random.default_rng(1)
  tokens = rng.integers(1, words, (PAIRS, captions, 7)).astype(np.int32)
  tokens[:, :, -1] = 49
  own = rng.integers(0, places or PAIRS, PAIRS).astype(np.int32)
  rows = np.arange(PAIRS * captions, dtype=np.int32).reshape(PAIRS, captions)
  batch = {
    'images': rng.integers(0, 256, (places or PAIRS, side, side, 3)).astype(np.uint8),
    'tokens': tokens if captions > 1 else tokens[:, 0],
    'image_ids': own if places else np.arange(PAIRS, dtype=np.int32),
    'rows': rows if captions > 1 else rows[:, 0],
  }
  return batch | ({'own': own} if places else {})


def make_head(*, pair=None, contrastive='softmax', objective_chunk=0, **changes):
  objective = make_objective(
    contrastive_weight=1.0,
    triplet_weight=0.1,
    margin=0.2,
    gamma=2.0,
    triplet_reduction='mean',
    mask_same_image=True,
    contrastive=contrastive,
    chunk=objective_chunk,
  )
  if pair is None:
    return plain_head(objective)
  return harmonized_head(
    objective, pair=pair, contrastive=contrastive, **HARMONIZED | changes
  )


def recorder():
  """Its state is the gradient; the update is that of plain descent."""
  return optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda gradients, _, params: (
      jax.tree.map(lambda leaf: -0.1 * leaf, gradients),
      gradients,
    ),
  )


def compile_for(model, split, batch, *, size, devices, chunk=0, captions=1, **head):
  """The compiled step, its state, and its batch on the devices."""
  mesh, optimizer = make_mesh(devices=jax.devices()[:devices]), recorder()
  step = make_train_step(
    model,
    make_head(**head),
    optimizer,
    optax.constant_schedule(0.1),
    over_rows=make_in_parts(size=size, mesh=mesh) if size else at_once,
    weight_space_chunk=chunk,
  )
  accounts = PAIRS * captions if 'pair' in head else 0
  state = init_state(*split, optimizer=optimizer, curriculum_size=accounts)
  state = place_state(state, mesh=mesh)
  batch = place_batch(batch, mesh=mesh)
  return (
    compile_step(step, state, mesh=mesh).lower(state, batch).compile(),
    state,
    batch,
  )


def taken(*arguments, **settings):
  """The state after a step, its gradient inside, and the metrics."""
  step, state, batch = compile_for(*arguments, **settings)
  return jax.device_get(step(state, batch))


def assert_close(found, expected, *, rtol):
  def compare(path, leaf, wanted):
    assert leaf.dtype == wanted.dtype
    scale = np.abs(wanted).max() if leaf.size else 0
    name = jax.tree_util.keystr(path)
    np.testing.assert_allclose(leaf, wanted, rtol=rtol, atol=rtol * scale, err_msg=name)

  jax.tree.map_with_path(compare, found, expected)


@pytest.fixture(scope='module')
def toy(make_clip, random_params):
  model = make_clip(shared_adapter='both')
  params = random_params(model) | {'logit_bias': jnp.float32(-3)}
  labels = label_leaves(params, patterns_of('adapters', shared=True))
  return model, split_params(params, labels)


@pytest.fixture(scope='module')
def of_toy(toy):
  """`of_toy(case, size=, devices=)`: what a step of it makes."""

  @functools.cache
  def take(case, *, size, devices):
    settings = dict(CASES[case])
    places = settings.pop('places', 0)
    captions = settings.get('captions', 1)
    batch = make_batch(side=16, captions=captions, places=places)
    return taken(*toy, batch, size=size, devices=devices, **settings)

  return take


@pytest.mark.parametrize(
  ('devices', 'size'),
  [(1, 12), (8, 16), pytest.param(8, 8, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
  'case',
  [
    case if case in QUICK else pytest.param(case, marks=pytest.mark.slow)
    for case in CASES
  ],
)
def test_state_and_metrics_are_those_of_the_undivided_step(of_toy, case, devices, size):
  expected = of_toy(case, size=0, devices=1)
  assert_close(of_toy(case, size=size, devices=devices), expected, rtol=2e-5)


@pytest.mark.parametrize('case', CASES)
def test_in_float64_to_its_last_digits(case):
  settings = dict(CASES[case])
  places, captions = settings.pop('places', 0), settings.get('captions', 1)
  batch = make_batch(side=2, captions=captions, places=places)
  with jax.enable_x64(True):
    model = TwoLayers()
    split = model.init(jnp.float64, has_bias='contrastive' in settings), {}
    expected, *found = (
      taken(model, split, batch, size=size, devices=devices, **settings)
      for size, devices in ((0, 1), (12, 1), (8, 8), (24, 8))
    )
    gradients = jax.tree.leaves(expected[0].optimizer_state)
    assert {leaf.dtype for leaf in gradients} == {np.dtype('float64')}
    assert min(np.abs(leaf).max() for leaf in gradients) > 1e-4
    for each in found:
      assert_close(each[0].optimizer_state, expected[0].optimizer_state, rtol=1e-12)
      assert_close(each[0].trainable, expected[0].trainable, rtol=1e-12)
      assert_close(each[1]['loss'], expected[1]['loss'], rtol=1e-12)


@pytest.mark.parametrize('count', [8, 16, 24, 40, 104])
@pytest.mark.parametrize('devices', [1, 8])
def test_rows_come_back_in_their_places(count, devices):
  """Also those that parts of equal size do not divide."""
  mesh = make_mesh(devices=jax.devices()[:devices])
  lengths = []

  def encode(rows):
    lengths.append(len(rows))
    return 2 * rows + 1

  rows = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
  in_parts = jax.jit(functools.partial(make_in_parts(size=16, mesh=mesh), encode))
  np.testing.assert_array_equal(in_parts(rows), 2 * rows + 1)
  assert set(lengths) == {-(-count // devices // -(-count // 16)) * devices}


def test_gradients_of_parts_are_added_in_f32_where_towers_are_of_half_precision():
  rng = np.random.default_rng(0)
  weights, rows = (jnp.float32(rng.normal(size=shape)) for shape in ((5, 4), (256, 5)))
  mesh = make_mesh(devices=jax.devices()[:1])

  def loss(weights, rows, over_rows):
    def encode(rows):
      return (rows.astype(jnp.bfloat16) @ weights.astype(jnp.bfloat16)).astype(
        rows.dtype
      )

    return jnp.sum(jnp.sin(over_rows(encode, rows)))

  gradient = jax.jit(jax.grad(loss), static_argnums=2)
  found = gradient(weights, rows, make_in_parts(size=1, mesh=mesh))
  alone = [np.float64(gradient(weights, row[None], at_once)) for row in rows]
  np.testing.assert_allclose(found, sum(alone), rtol=1e-5, atol=1e-5)


COLLECTIVES = r'all-(?:gather|to-all|reduce)|reduce-scatter|collective-permute'


def collectives(text):
  """How often each comes in a compiled program's text, by what travels."""
  found = re.findall(rf'= (.*?) ({COLLECTIVES})(?:-start)?\(', text)
  return collections.Counter(found)


@pytest.mark.parametrize(
  'case', ['fewer images than pairs', pytest.param('plain', marks=pytest.mark.slow)]
)
def test_no_images_and_no_captions_travel(toy, case):
  """What travels between devices is what travels in the undivided step."""
  batch = make_batch(side=16, **CASES[case])
  undivided, divided = (
    collectives(compile_for(*toy, batch, size=size, devices=8)[0].as_text())
    for size in (0, 16)
  )
  assert divided == undivided
  assert 'all-reduce' in {kind for _, kind in divided}
  assert not [what for what, _ in divided if 'u8[' in what]


@pytest.mark.parametrize('devices', [pytest.param(1, marks=pytest.mark.slow), 8])
def test_memory_does_not_grow_with_the_batch(toy, devices):
  """But for embeddings and a part of the similarities; images come from outside."""
  model, split = toy
  mesh = make_mesh(devices=jax.devices()[:devices])
  pairs, chunk = (256, 1024), 16

  def temporaries(n, *, size):
    shape = functools.partial(jax.ShapeDtypeStruct, sharding=batch_sharding(mesh))
    optimizer = recorder()
    step = make_train_step(
      model,
      make_head(objective_chunk=chunk),
      optimizer,
      optax.constant_schedule(0.1),
      over_rows=make_in_parts(size=size, mesh=mesh) if size else at_once,
    )
    state = place_state(init_state(*split, optimizer=optimizer), mesh=mesh)
    batch = {
      'images': shape((n, 16, 16, 3), jnp.uint8),
      'tokens': shape((n, 7), jnp.int32),
      'image_ids': shape((n,), jnp.int32),
      'rows': shape((n,), jnp.int32),
    }
    compiled = compile_step(step, state, mesh=mesh).lower(state, batch).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  undivided, divided = (
    np.diff([temporaries(n, size=size) for n in pairs]) for size in (0, 64)
  )
  added = pairs[1] - pairs[0]
  embeddings = 2 * model.size.embedding * 4 * added
  similarities = chunk * 4 * added
  assert divided <= 4 * (embeddings + similarities)
  assert undivided > 20 * divided
