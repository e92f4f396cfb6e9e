"""The harmonized step: angles over the weights, devices, order, one backward."""

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from harma_jax.devices.mesh import make_mesh, place_batch
from harma_jax.objective.alignment import make_objective
from harma_jax.objective.curriculum import keep_all
from harma_jax.objective.harmonize import harmonize_many
from harma_jax.objective.head import harmonized_head, plain_head
from harma_jax.objective.logits import Logits
from harma_jax.stepping.optim import (
  label_leaves,
  merge_params,
  patterns_of,
  split_params,
)
from harma_jax.stepping.step import (
  compile_step,
  encode_samples,
  init_state,
  make_train_step,
  own_text_metrics,
  place_state,
  weight_products,
)

STEPS = 3
OBJECTIVE = make_objective(
  contrastive_weight=1.0,
  triplet_weight=0.1,
  margin=0.2,
  gamma=2.0,
  triplet_reduction='mean',
  mask_same_image=True,
)
HEAD = {
  'pair': 'captions',
  'realign': True,
  'curriculum': 'drop',
  'indicator': 'conflict',
  'threshold': (0.0, 0.3),
  'unit': 'share',
  'start_step': 0,
  'anneal_steps': 2,
  'renormalize': True,
  'seed': 0,
}


@pytest.fixture(scope='module')
def model(make_clip):
  return make_clip(shared_adapter='both', image_layers=1, text_layers=1)


@pytest.fixture(scope='module')
def split(model, random_params):
  return split_of(model, random_params)


def split_of(model, random_params):
  params = random_params(model)
  return split_params(
    params, label_leaves(params, patterns_of('adapters', shared=True))
  )


@pytest.fixture(scope='module')
def batch(toy_batch):
  """Eight images with two captions each, of one text for the last."""
  tokens = np.stack([toy_batch['tokens'], np.roll(toy_batch['tokens'], 3, axis=0)], 1)
  tokens[-1, 1] = tokens[-1, 0]
  return {
    'images': toy_batch['images'],
    'tokens': tokens,
    'image_ids': np.arange(8, dtype=np.int32),
    'rows': np.arange(16, dtype=np.int32).reshape(8, 2),
  }


def make_step(model, *, chunk=0, optimizer=None, **head):
  optimizer = optimizer or optax.sgd(0.01)
  head = harmonized_head(OBJECTIVE, **HEAD | head)
  schedule = optax.constant_schedule(1e-3)
  return make_train_step(model, head, optimizer, schedule, weight_space_chunk=chunk)


def make_state(split):
  return init_state(*split, optimizer=optax.sgd(0.01), curriculum_size=16)


@functools.lru_cache(maxsize=1)
def numpy_jacobian_rows(seed=0):
  """A two-layer model in float64: weights, inputs, embeddings and d e_i / d theta."""
  rng = np.random.default_rng(seed)
  first, second = rng.normal(size=(3, 4)), rng.normal(size=(4, 5))
  inputs = rng.normal(size=(6, 3))
  embeddings, jacobians = [], []
  for row in inputs:
    hidden = np.tanh(row @ first)
    output = hidden @ second
    norm = np.linalg.norm(output)
    unit = output / norm
    of_output = (np.eye(5) - np.outer(unit, unit)) / norm
    of_second = np.einsum('om,h->ohm', of_output, hidden)
    of_first = np.einsum('om,hm,h,i->oih', of_output, second, 1 - hidden**2, row)
    jacobians.append(np.hstack([of_first.reshape(5, -1), of_second.reshape(5, -1)]))
    embeddings.append(unit)
  return (first, second), inputs, np.array(embeddings), np.array(jacobians)


def two_layers(weights, inputs):
  output = jnp.tanh(inputs @ weights[0]) @ weights[1]
  return (output / jnp.linalg.norm(output, axis=1, keepdims=True),)


@pytest.mark.parametrize('chunk', [1, 4, 6])
def test_angles_over_weights_equal_explicit_jacobians(chunk):
  weights, inputs, _, jacobians = numpy_jacobian_rows()
  cotangents = np.random.default_rng(1).normal(size=(3, 6, 5))
  as_f32 = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (weights, inputs))
  products = weight_products(two_layers, as_f32[0], as_f32[1:], chunk=chunk)
  gradients = [(jnp.asarray(rows, jnp.float32),) for rows in cotangents]
  found = products(gradients)
  for i in range(6):
    pulled = cotangents[:, i] @ jacobians[i]
    for k in range(3):
      rest = sum(pulled[other] for other in range(3) if other != k)
      expected = pulled[k] @ rest, pulled[k] @ pulled[k], rest @ rest
      np.testing.assert_allclose(
        [part[k, i] for part in found], expected, rtol=1e-5, atol=1e-5
      )


def linear(gradient, embeddings):
  return jnp.sum(gradient * embeddings)


def test_realigned_gradients_of_weights_do_not_conflict():
  """`a'.b = 0` and `a'.b' >= 0` over the weights, which the angle is taken over."""
  weights, inputs, embeddings, jacobians = numpy_jacobian_rows()
  as_f32 = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (weights, inputs))
  gradients = np.random.default_rng(2).normal(size=(2, 6, 5))
  losses = [functools.partial(linear, rows) for rows in jnp.float32(gradients)]
  found = harmonize_many(
    losses,
    (jnp.asarray(embeddings, jnp.float32),),
    keep_of=keep_all,
    products=weight_products(two_layers, as_f32[0], as_f32[1:], chunk=2),
  )
  conflicts = 0
  for i in range(6):
    a, b = gradients[:, i] @ jacobians[i]
    if a @ b < 0:
      conflicts += 1
      weight_a, weight_b = np.asarray(found.weight[:, i])
      np.testing.assert_allclose(weight_a, 1 - (a @ b) / (a @ a), rtol=1e-5)
      # The sum is a' + b' with a' normal to b, and b' to a.
      a_new, b_new = a - (a @ b) / (b @ b) * b, b - (a @ b) / (a @ a) * a
      np.testing.assert_allclose(weight_a * a + weight_b * b, a_new + b_new, atol=1e-4)
      assert abs(a_new @ b) < 1e-9
      assert a_new @ b_new >= 0
    else:
      assert found.weight[:, i].tolist() == [1, 1]
  assert 0 < conflicts < 6


def one_hot_pulls(model, split, batch, cotangents):
  """Each sample's gradient of the whole batch's encoding, a loop of full pull-backs.

  Yields those of every element of `cotangents`, f64[8, weights].
  """
  trainable, frozen = split

  @jax.jit
  def pull_back(only):
    _, pull = jax.vjp(
      lambda weights: encode_samples(
        model, merge_params(weights, frozen), batch['images'], batch['tokens']
      ),
      trainable,
    )
    return ravel_pytree(pull(only))[0]

  for rows in cotangents:
    only = [jax.tree.map(lambda leaf, i=i: one_hot(leaf, i), rows) for i in range(8)]
    yield np.stack([np.asarray(pull_back(row), np.float64) for row in only])


def one_hot(rows, i):
  """Nothing but row i."""
  return jnp.zeros_like(rows).at[i].set(rows[i])


def test_samples_gradients_over_the_adapters(model, split, batch):
  """Products of them equal those of explicit ones."""
  trainable, frozen = split
  rng = np.random.default_rng(3)
  gradients = [
    tuple(jnp.asarray(rng.normal(size=(8, 8)), jnp.float32) for _ in range(3))
    for _ in range(2)
  ]
  products = weight_products(
    lambda weights, *inputs: encode_samples(
      model, merge_params(weights, frozen), *inputs
    ),
    trainable,
    (batch['images'], batch['tokens']),
    chunk=3,
  )
  inner, norm, _ = jax.jit(products)(gradients)
  first, second = one_hot_pulls(model, split, batch, gradients)
  scale = np.sqrt((first**2).sum(1) * (second**2).sum(1))
  np.testing.assert_allclose(
    inner[0] / scale, (first * second).sum(1) / scale, atol=1e-5
  )
  np.testing.assert_allclose(norm[0], (first**2).sum(1), rtol=1e-5)


def run(split, batch, step, *, devices):
  mesh = make_mesh(devices=jax.devices()[:devices])
  state = place_state(make_state(split), mesh=mesh)
  step, placed = compile_step(step, state, mesh=mesh), place_batch(batch, mesh=mesh)
  for _ in range(STEPS):
    state, metrics = step(state, placed)
  return jax.device_get((state, metrics))


@pytest.mark.parametrize('chunk', [0, pytest.param(2, marks=pytest.mark.slow)])
def test_devices_do_not_matter(make_clip, random_params, batch, chunk):
  # Of two layers: the steps of one amplify rounding beyond the tolerance.
  model = make_clip(shared_adapter='both')
  split = split_of(model, random_params)
  step = make_step(model, chunk=chunk)
  one, metrics = run(split, batch, step, devices=1)
  eight, metrics_of_eight = run(split, batch, step, devices=8)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    (one.trainable, one.curriculum),
    (eight.trainable, eight.curriculum),
  )
  assert metrics['loss'] == pytest.approx(metrics_of_eight['loss'], rel=1e-6)
  assert metrics['kept_share'] == metrics_of_eight['kept_share'] < 1


def test_permuting_the_batch_changes_nothing(model, split, batch):
  """Neither the weights nor the account of a caption."""
  step = jax.jit(make_step(model))
  order = np.random.default_rng(0).permutation(8)
  states = [
    step(make_state(split), jax.tree.map(lambda leaf, rows=rows: leaf[rows], batch))[0]
    for rows in (np.arange(8), order)
  ]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    *((state.trainable, state.curriculum) for state in states),
  )
  assert np.ptp(states[0].curriculum['cosine_sum']) > 0.1


def test_the_temperature_has_the_gradient_of_the_unmodified_loss(model, split, batch):
  embeddings = jax.jit(encode_samples, static_argnums=0)(
    model, merge_params(*split), batch['images'], batch['tokens']
  )
  features = embeddings[0], embeddings[1:], Logits(jnp.float32(0.07))
  place = batch['image_ids'], jnp.int32(5)
  harmonized = harmonized_head(OBJECTIVE, **HEAD)(*features, *place)
  plain = plain_head(OBJECTIVE)(*features, *place)
  assert harmonized.metrics['kept_share'] < 1
  scalars = harmonized.cotangents[2]
  assert scalars == plain.cotangents[2]
  assert scalars.temperature != 0


def test_before_its_start_the_step_is_the_plain_one(model, split, batch):
  plain = make_train_step(
    model,
    plain_head(OBJECTIVE),
    optax.sgd(0.01),
    optax.constant_schedule(1e-3),
  )
  state = make_state(split)
  waiting, metrics = jax.jit(make_step(model, start_step=1))(state, batch)
  expected, _ = jax.jit(plain)(state.replace(curriculum={}), batch)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
    waiting.trainable,
    expected.trainable,
  )
  assert metrics['kept_share'] == 1
  assert waiting.curriculum['seen'].tolist() == [1] * 16


def test_metrics_of_captions_with_a_text_of_their_own():
  tokens = jnp.array([[[1, 2], [1, 2], [3, 4]], [[1, 2], [3, 4], [5, 6]]])
  cosine = jnp.array([[0.9, -0.1], [0.9, 0.2], [-0.5, 0.3]])
  found = own_text_metrics(cosine, tokens)
  assert found['own_text_share'] == pytest.approx(4 / 6)
  assert found['own_text_conflict_share'] == 2 / 4
  assert own_text_metrics(None, tokens) == {}
  assert own_text_metrics(cosine[:1], tokens[:, :1]) == {}


def dots(step, state, batch):
  """The result shapes of all matrix products that a step is lowered to."""
  text = jax.jit(step).lower(state, batch).as_text()
  found = re.findall(r'stablehlo\.dot_general.*-> tensor<([\dx]*)xf32>', text)
  return collections.Counter(found)


def test_the_towers_are_pulled_back_once(model, split, batch):
  """All matrix products that harmonization adds are of [B, B] or [B, D]."""
  batch = jax.tree.map(lambda leaf: leaf[:6], batch)
  plain = make_train_step(
    model,
    plain_head(OBJECTIVE),
    optax.sgd(0.01),
    optax.constant_schedule(1e-3),
  )
  state = make_state(split)
  expected = dots(plain, state.replace(curriculum={}), batch)
  added = dots(make_step(model), state, batch) - expected
  assert set(added) <= {'6x6', '6x8', '8x6'}
  assert sum(expected.values()) > 50
