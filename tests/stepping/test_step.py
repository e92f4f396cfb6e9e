"""The train step: what it changes, what it leaves, and that devices do not matter."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from harma_jax.data.images import normalize
from harma_jax.devices import mesh as mesh_module
from harma_jax.devices.mesh import make_mesh, place_batch
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.families import SIGLIP
from harma_jax.model.sizes import named_size
from harma_jax.objective.alignment import make_objective
from harma_jax.objective.head import harmonized_head, plain_head
from harma_jax.stepping.optim import (
  bound_temperature,
  label_leaves,
  make_optimizer,
  make_schedule,
  merge_params,
  patterns_of,
  split_params,
  updates_made,
)
from harma_jax.stepping.step import (
  compile_step,
  guard,
  init_state,
  logits_of,
  make_train_step,
  place_state,
)

STEPS = 5
# How many devices, and over how many of them parameters are cut.
MESHES = {'1 device': (1, 1), '8 devices': (8, 1), '8 devices, fsdp 2': (8, 2)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """What a step is made of, and the state before it."""

  model: Clip
  objective: object
  optimizer: object
  schedule: object
  trainable: dict
  frozen: dict

  @functools.cached_property
  def step(self):
    head = plain_head(self.objective)
    return make_train_step(self.model, head, self.optimizer, self.schedule)

  def state(self):
    return init_state(self.trainable, self.frozen, optimizer=self.optimizer)

  def loss(self, trainable, batch):
    params = merge_params(trainable, self.frozen)
    return self.objective(
      self.model.encode_image(params, normalize(batch['images'])),
      self.model.encode_text(params, batch['tokens']),
      batch['image_ids'],
      logits=logits_of(params),
    )[0]


def make_setting(model, params, *, learning_rate=3e-3, contrastive='softmax'):
  labels = label_leaves(params, patterns_of('adapters', shared=True))
  trainable, frozen = split_params(params, labels)
  schedule = make_schedule(
    'linear', learning_rate=learning_rate, warmup_steps=2, total_steps=10
  )
  return Setting(
    model=model,
    objective=make_objective(
      contrastive_weight=1.0,
      triplet_weight=1e-3,
      margin=0.2,
      gamma=2.0,
      triplet_reduction='mean',
      mask_same_image=True,
      contrastive=contrastive,
    ),
    # Adam with a tiny epsilon turns the rounding of tiny gradients into whole steps.
    optimizer=make_optimizer(schedule, eps=1e-4),
    schedule=schedule,
    trainable=trainable,
    frozen=frozen,
  )


@pytest.fixture(scope='module')
def setting(make_clip, random_params):
  model = make_clip(shared_adapter='both')
  return make_setting(model, random_params(model))


def run(setting, batch, *, devices, fsdp):
  mesh = make_mesh(fsdp=fsdp, devices=jax.devices()[:devices])
  state = place_state(setting.state(), mesh=mesh)
  step, placed = (
    compile_step(setting.step, state, mesh=mesh),
    place_batch(batch, mesh=mesh),
  )
  history = []
  for _ in range(STEPS):
    state, metrics = step(state, placed)
    history.append({name: float(value) for name, value in metrics.items()})
  return state, history


@pytest.fixture(scope='module')
def runs(setting, toy_batch):
  """The state after five steps and the metrics of each, on every mesh."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(mesh_module, 'SHARDED_FROM', 32)
    return {
      name: run(setting, toy_batch, devices=devices, fsdp=fsdp)
      for name, (devices, fsdp) in MESHES.items()
    }


@pytest.fixture(scope='module')
def loss_and_gradients(setting):
  """Of a batch at the start, without a step around them."""
  compiled = jax.jit(jax.value_and_grad(setting.loss))
  return lambda batch: compiled(setting.trainable, batch)


def test_frozen_leaves_keep_every_bit(setting, runs):
  for state, _ in runs.values():
    jax.tree.map(np.testing.assert_array_equal, state.frozen, setting.frozen)


def test_siglip_does_not_depend_on_devices(
  make_clip, random_params, toy_batch, monkeypatch
):
  monkeypatch.setattr(mesh_module, 'SHARDED_FROM', 32)
  model = make_clip(shared_adapter='both', family=SIGLIP)
  setting = make_setting(model, random_params(model))
  (one, metrics), (eight, others) = (
    run(setting, toy_batch, devices=devices, fsdp=fsdp)
    for devices, fsdp in (MESHES['1 device'], MESHES['8 devices, fsdp 2'])
  )
  for state in (one, eight):
    jax.tree.map(np.testing.assert_array_equal, state.frozen, setting.frozen)
  for leaf, other, before in zip(
    *map(jax.tree.leaves, (one.trainable, eight.trainable, setting.trainable)),
    strict=True,
  ):
    np.testing.assert_allclose(leaf, other, rtol=1e-4, atol=1e-5)
    # The softmax loss has no use for the bias of the similarities.
    assert np.any(leaf != before) or before is setting.trainable['logit_bias']
  for first, second in zip(metrics, others, strict=True):
    assert first == pytest.approx(second, rel=1e-4)


def test_every_trainable_leaf_moves(setting, runs):
  state, _ = runs['1 device']
  before = traverse_util.flatten_dict(setting.trainable, sep='/')
  after = traverse_util.flatten_dict(state.trainable, sep='/')
  assert not [path for path in before if np.array_equal(before[path], after[path])]


def test_training_lowers_the_loss(runs):
  _, history = runs['1 device']
  assert history[-1]['loss'] < history[0]['loss']


@pytest.mark.parametrize('name', [name for name in MESHES if name != '1 device'])
def test_devices_do_not_matter(runs, name):
  (one, expected), (state, history) = runs['1 device'], runs[name]
  for computed, wanted in zip(history, expected, strict=True):
    assert computed == pytest.approx(wanted, rel=1e-5)
  assert history[0]['loss'] == pytest.approx(expected[0]['loss'], rel=1e-6)
  for leaf, wanted in zip(
    *map(jax.tree.leaves, (state.trainable, one.trainable)), strict=True
  ):
    np.testing.assert_allclose(leaf, wanted, rtol=0, atol=1e-5)


@pytest.fixture(scope='module')
def sigmoid_setting(make_clip, random_params):
  model = make_clip(image_layers=1, text_layers=1, shared_adapter='both')
  params = random_params(model) | {'logit_bias': jnp.float32(-3)}
  return make_setting(model, params, contrastive='sigmoid')


def test_with_a_sigmoid_loss_devices_do_not_matter_and_its_bias_trains(
  sigmoid_setting, toy_batch
):
  (one, expected), (state, history) = (
    run(sigmoid_setting, toy_batch, devices=devices, fsdp=1) for devices in (1, 8)
  )
  for computed, wanted in zip(history, expected, strict=True):
    assert computed == pytest.approx(wanted, rel=1e-5)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5),
    state.trainable,
    one.trainable,
  )
  biases = [metrics['logit_bias'] for metrics in history]
  assert biases[0] == -3
  assert len(set(biases)) == STEPS - 1  # the warm-up's first step has a rate of 0
  assert history[-1]['loss'] < history[0]['loss']


@pytest.mark.parametrize('bias', [np.nan, np.inf])
def test_a_bias_that_is_not_finite_moves_nothing(sigmoid_setting, toy_batch, bias):
  state = sigmoid_setting.state()
  state = state.replace(trainable={**state.trainable, 'logit_bias': jnp.float32(bias)})
  after, metrics = jax.jit(guard(sigmoid_setting.step, halt=False))(state, toy_batch)
  assert metrics['skipped'] == 1
  jax.tree.map(np.testing.assert_array_equal, after.trainable, state.trainable)


def test_fsdp_cuts_parameters_and_moments(runs):
  state, _ = runs['8 devices, fsdp 2']
  for tree in (state.trainable, state.frozen, state.optimizer_state):
    leaves = [leaf for leaf in jax.tree.leaves(tree) if leaf.size >= 32]
    assert leaves
    assert not [leaf.shape for leaf in leaves if leaf.is_fully_replicated]


def test_metrics_tell_what_the_step_used(setting, runs):
  _, history = runs['1 device']
  assert set(history[0]) == {
    'loss',
    'contrastive',
    'triplet',
    'gradient_norm',
    'temperature',
    'learning_rate',
  }
  rates = [metrics['learning_rate'] for metrics in history]
  assert rates == pytest.approx(
    [float(setting.schedule(step)) for step in range(STEPS)]
  )
  first = history[0]
  assert first['temperature'] == pytest.approx(0.07)
  assert first['loss'] == pytest.approx(first['contrastive'] + 1e-3 * first['triplet'])


def test_loss_and_gradient_norm_are_of_the_trainable_leaves(
  runs, loss_and_gradients, toy_batch
):
  _, history = runs['1 device']
  loss, gradients = loss_and_gradients(toy_batch)
  norm = np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(gradients)))
  assert history[0]['loss'] == pytest.approx(float(loss), rel=1e-6)
  assert history[0]['gradient_norm'] == pytest.approx(norm, rel=1e-5)


def test_steps_are_counted(runs):
  state, _ = runs['1 device']
  assert state.step == STEPS
  assert state.step.dtype == jnp.int32


def test_the_state_has_all_parameters(setting, runs):
  state, _ = runs['1 device']
  whole = merge_params(setting.trainable, setting.frozen)
  assert jax.tree.structure(state.params) == jax.tree.structure(whole)


def test_permuting_the_batch_leaves_loss_and_gradients(loss_and_gradients, toy_batch):
  order = np.array([3, 7, 1, 5, 0, 6, 4, 2])
  permuted = {name: rows[order] for name, rows in toy_batch.items()}
  (one, gradients), (other, of_permuted) = map(
    loss_and_gradients, (toy_batch, permuted)
  )
  assert float(one) == pytest.approx(float(other), rel=1e-5)
  for leaf, expected in zip(
    *map(jax.tree.leaves, (of_permuted, gradients)), strict=True
  ):
    np.testing.assert_allclose(leaf, expected, rtol=1e-3, atol=1e-4)


def test_the_state_is_donated_and_its_source_kept(setting, toy_batch):
  mesh = make_mesh(devices=jax.devices()[:1])
  source = setting.state()
  state = place_state(source, mesh=mesh)

  def count_up(state, batch):
    return state.replace(step=state.step + 1), {
      'rows': jnp.float32(len(batch['tokens']))
    }

  step = compile_step(count_up, state, mesh=mesh)
  after, metrics = step(state, place_batch(toy_batch, mesh=mesh))
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
  assert after.step == 1
  assert metrics['rows'] == 8
  jax.tree.map(np.testing.assert_array_equal, after.params, source.params)


@pytest.mark.parametrize('devices', [pytest.param(1, marks=pytest.mark.slow), 8])
def test_images_encoded_once_change_nothing(setting, toy_batch, devices):
  own = np.array([0, 1, 1, 2, 0, 3, 3, 3], np.int32)
  distinct = np.resize(toy_batch['images'][:4], toy_batch['images'].shape)
  once = toy_batch | {'images': distinct, 'image_ids': own, 'own': own}
  each = toy_batch | {'images': distinct[own], 'image_ids': own}
  expected, found = (
    run(setting, batch, devices=devices, fsdp=1) for batch in (each, once)
  )
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5),
    found,
    expected,
  )


def test_images_encoded_once_are_less_work(setting, toy_batch):
  own = np.zeros(8, np.int32)
  once = toy_batch | {'images': toy_batch['images'][:1], 'own': own}
  flops = [
    jax.jit(setting.step).lower(setting.state(), batch).cost_analysis()
    for batch in (once, toy_batch)
  ]
  assert flops[0]['flops'] < 0.8 * flops[1]['flops']


def test_the_step_bounds_the_temperature():
  class Constant:
    size = named_size('tiny')

    def encode_image(self, params, images):
      return jnp.eye(len(images), 4)

    def encode_text(self, params, tokens):
      return jnp.eye(len(tokens), 4)

  def objective(image_features, text_features, image_ids, *, logits):
    return logits.temperature, {}

  optimizer = optax.sgd(1.0)
  head = plain_head(objective)
  step = make_train_step(Constant(), head, optimizer, optax.constant_schedule(1.0))
  state = init_state({'temperature': jnp.float32(0.07)}, {}, optimizer=optimizer)
  batch = {
    'images': np.zeros((4, 2, 2, 3), np.uint8),
    'tokens': np.zeros((4, 3), np.int32),
    'image_ids': np.arange(4),
    'rows': np.arange(4),
  }
  state, metrics = step(state, batch)
  assert metrics['temperature'] == np.float32(0.07)
  assert state.trainable == bound_temperature({'temperature': jnp.float32(-1)})


@pytest.mark.slow
def test_vit_b_32_takes_a_step(random_params):
  model = Clip(size=named_size('ViT-B-32'), adapter=AdapterSettings())
  setting = make_setting(model, random_params(model))
  rng = np.random.default_rng(0)
  tokens = rng.integers(1, 49406, (8, 77))
  tokens[:, 20], tokens[:, 21:] = 49407, 0
  batch = {
    'images': rng.integers(0, 256, (8, 224, 224, 3)).astype(np.uint8),
    'tokens': tokens.astype(np.int32),
    'image_ids': np.arange(8, dtype=np.int32),
    'rows': np.arange(8, dtype=np.int32),
  }
  state, metrics = jax.jit(setting.step, donate_argnums=0)(setting.state(), batch)
  assert state.step == 1
  assert np.isfinite(metrics['loss'])
  assert 0 < float(metrics['gradient_norm']) < np.inf


@pytest.mark.parametrize(
  'pair', ['uniformity', pytest.param('objectives', marks=pytest.mark.slow)]
)
def test_harmonization_costs_no_second_backward(make_clip, random_params, pair):
  """Measured on widths where the towers outweigh the B x B head, as they do at B/32."""
  size = dataclasses.replace(named_size('tiny'), vocabulary=50)
  model = Clip(size=size)
  params = random_params(model)
  optimizer = optax.sgd(0.1)
  objective = make_objective(
    contrastive_weight=1.0,
    triplet_weight=1.0,
    margin=0.2,
    gamma=2.0,
    triplet_reduction='mean',
    mask_same_image=True,
  )
  harmonized = harmonized_head(
    objective,
    pair=pair,
    realign=pair != 'uniformity',
    curriculum='drop',
    indicator='conflict',
    threshold=(-0.3, 0.0),
    unit='cosine',
    start_step=0,
    anneal_steps=1,
    renormalize=True,
    seed=0,
  )
  batch = {
    'images': jax.ShapeDtypeStruct((16, 64, 64, 3), jnp.uint8),
    'tokens': jax.ShapeDtypeStruct((16, 24), jnp.int32),
    'image_ids': jax.ShapeDtypeStruct((16,), jnp.int32),
    'rows': jax.ShapeDtypeStruct((16,), jnp.int32),
  }
  flops = []
  for head, size in ((plain_head(objective), 0), (harmonized, 16)):
    state = init_state(params, {}, optimizer=optimizer, curriculum_size=size)
    step = make_train_step(model, head, optimizer, optax.constant_schedule(0.1))
    compiled = jax.jit(step).lower(state, batch).compile()
    flops.append(compiled.cost_analysis()['flops'])
  assert 1 <= flops[1] / flops[0] < 1.02


def run_guarded(values, *, halt):
  """The state after steps with these losses and gradient norms, and the metrics."""

  def count_up(state, batch):
    gradients = jax.tree.map(jnp.ones_like, state.trainable)
    _, optimizer_state = optimizer.update(gradients, state.optimizer_state)
    after = state.replace(
      step=state.step + 1,
      trainable=jax.tree.map(lambda leaf: leaf + 1 + batch['loss'], state.trainable),
      optimizer_state=optimizer_state,
      curriculum={name: sums + 1 for name, sums in state.curriculum.items()},
    )
    return after, batch

  optimizer = optax.adam(0.1)
  state = init_state(
    {'a': jnp.zeros(3)}, {'b': jnp.ones(2)}, optimizer=optimizer, curriculum_size=4
  )
  step, history = jax.jit(guard(count_up, halt=halt)), []
  for loss, norm in values:
    state, metrics = step(
      state, {'loss': jnp.float32(loss), 'gradient_norm': jnp.float32(norm)}
    )
    history.append(metrics)
  return jax.device_get(state), history


BAD = [(np.nan, 1), (0, np.inf), (-np.inf, 1), (0, np.nan)]


@pytest.mark.parametrize('bad', BAD, ids=str)
def test_a_step_that_is_not_finite_is_skipped_and_counted(bad):
  state, history = run_guarded([(0, 1), bad, (0, 1), bad, (0, 1)], halt=False)
  assert state.step == 5
  assert [metrics['skipped'] for metrics in history] == [0, 1, 1, 2, 2]
  np.testing.assert_array_equal(state.trainable['a'], np.full(3, 3))
  np.testing.assert_array_equal(state.curriculum['seen'], np.full(4, 3))
  assert updates_made(state.optimizer_state, default=None) == 3


@pytest.mark.parametrize('bad', BAD, ids=str)
def test_a_state_halts_before_a_step_that_is_not_finite(bad):
  before, _ = run_guarded([(0, 1)] * 2, halt=True)
  after, _ = run_guarded([(0, 1), (0, 1), bad, (0, 1), bad, (0, 1)], halt=True)
  assert ~after.step == before.step == 2
  jax.tree.map(np.testing.assert_array_equal, after.replace(step=before.step), before)


def test_the_schedule_goes_on_after_a_skipped_step_where_it_was(setting, toy_batch):
  """The learning rate that is reported is the one that the optimizer takes."""
  step = jax.jit(setting.step)
  state, _ = step(setting.state(), toy_batch)
  _, metrics = step(state.replace(step=state.step + 3), toy_batch)
  assert metrics['learning_rate'] == setting.schedule(1)
