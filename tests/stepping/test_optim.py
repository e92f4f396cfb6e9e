"""Labels, schedules and AdamW against closed forms and a hand-written numpy version."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from harma_jax.errors import UserError
from harma_jax.stepping.optim import (
  BIASES,
  KINDS,
  MODES,
  TEMPERATURE_RANGE,
  bound_temperature,
  count,
  decay_groups,
  label_leaves,
  make_optimizer,
  make_schedule,
  merge_params,
  patterns_of,
  split_params,
  updates_made,
)


@pytest.fixture(scope='module')
def params(make_clip, random_params):
  return random_params(make_clip(shared_adapter='both'))


def trainable_paths(params, mode, *, shared=True):
  labels = label_leaves(params, patterns_of(mode, shared=shared))
  return {path for path, label in labels.items() if label == 'trainable'}


def test_adapters_mode_trains_adapters_gates_and_temperature(params):
  everything = set(traverse_util.flatten_dict(params, sep='/'))
  expected = {
    path
    for path in everything
    if {'adapter', 'shared_adapter', 'block_gate', 'temperature'} & {*path.split('/')}
  }
  assert trainable_paths(params, 'adapters') == expected
  # Of each tower 8 weights and biases and 2 gates; 8 and 1 shared; the temperature.
  assert len(expected) == 2 * (8 + 2) + (8 + 1) + 1


def with_bias(params):
  return {**params, 'logit_bias': jnp.float32(-10)}


@pytest.mark.parametrize('mode', ['adapters', 'full'])
def test_a_bias_of_the_logits_trains_wherever_the_temperature_does(params, mode):
  trainable = trainable_paths(with_bias(params), mode)
  assert trainable == trainable_paths(params, mode) | {'logit_bias'}


def test_a_linear_probe_trains_the_bias_of_the_logits(make_clip):
  clip = make_clip(adapter=None, shared_adapter='none')
  shapes = with_bias(jax.eval_shape(clip.init, jax.random.key(0)))
  assert 'logit_bias' in trainable_paths(shapes, 'projection', shared=False)


def test_full_mode_trains_everything_that_is_used(params):
  everything = set(traverse_util.flatten_dict(params, sep='/'))
  assert trainable_paths(params, 'full') == everything - {'logit_scale'}


def test_projection_mode_trains_the_projections(make_clip):
  clip = make_clip(adapter=None, shared_adapter='none')
  shapes = jax.eval_shape(clip.init, jax.random.key(0))
  assert trainable_paths(shapes, 'projection', shared=False) == {
    'image/projection',
    'text/projection',
    'temperature',
  }


def test_adapters_without_a_shared_one_need_no_pattern_for_it(make_clip):
  shapes = jax.eval_shape(make_clip(shared_adapter='none').init, jax.random.key(0))
  assert trainable_paths(shapes, 'adapters', shared=False)


def test_the_first_pattern_that_matches_decides(params):
  patterns = [('text/.*', 'frozen'), ('.*', 'trainable')]
  labels = label_leaves(params, patterns)
  assert {path.split('/')[0] for path in labels if labels[path] == 'frozen'} == {'text'}


def test_a_leaf_without_a_pattern_is_named(params):
  with pytest.raises(UserError, match='none matches logit_scale, temperature'):
    label_leaves(params, [('(image|text|shared_adapter)/.*', 'trainable')])


def test_patterns_match_whole_paths(params):
  with pytest.raises(UserError, match=r'none matches .*image/projection'):
    label_leaves(params, [('image', 'frozen'), ('text/.*', 'trainable')])


def test_a_pattern_that_decides_nothing_is_named(params):
  patterns = [('.*', 'trainable'), ('text/.*', 'frozen')]
  with pytest.raises(UserError, match=r"decide a parameter; 'text/\.\*' decides none"):
    label_leaves(params, patterns)


def test_adapters_mode_wants_adapters():
  with pytest.raises(UserError, match=r'Set --config\.model\.adapters=harma'):
    patterns_of('adapters', shared=False, adapters='none')


def test_nothing_to_train_is_the_users_mistake(params):
  with pytest.raises(UserError, match='the patterns freeze all of them'):
    label_leaves(params, [('.*', 'frozen')])


def test_unknown_mode_is_the_users_mistake():
  with pytest.raises(UserError, match=f"{', '.join(MODES)}; found 'lora'"):
    patterns_of('lora', shared=True)


def test_split_and_merge_are_inverse(params):
  labels = label_leaves(params, patterns_of('adapters', shared=True))
  trainable, frozen = split_params(params, labels)
  assert count(trainable) + count(frozen) == count(params)
  merged = merge_params(trainable, frozen)
  assert jax.tree.structure(merged) == jax.tree.structure(params)
  assert all(
    one is other
    for one, other in zip(jax.tree.leaves(merged), jax.tree.leaves(params), strict=True)
  )


@pytest.mark.parametrize('warmup', [0, 1, 4])
@pytest.mark.parametrize('name', ['linear', 'cosine', 'constant'])
def test_schedules_equal_their_closed_forms(name, warmup):
  total, peak = 20, 3e-4
  schedule = make_schedule(
    name, learning_rate=peak, warmup_steps=warmup, total_steps=total
  )
  decay = {
    'linear': lambda share: 1 - share,
    'cosine': lambda share: (1 + math.cos(math.pi * share)) / 2,
    'constant': lambda share: 1.0,
  }
  for step in range(total + 5):
    share = min((step - warmup) / (total - warmup), 1)
    expected = step / warmup if step < warmup else decay[name](share)
    # Relative to the peak, where f32 rounds.
    assert float(schedule(step)) / peak == pytest.approx(expected, abs=1e-6)


def test_a_schedule_of_one_step_is_a_schedule():
  schedule = make_schedule('linear', learning_rate=1.0, warmup_steps=0, total_steps=1)
  assert schedule(0) == 1
  assert schedule(1) == 0


def test_unknown_schedule_is_the_users_mistake():
  with pytest.raises(UserError, match="linear, cosine, constant; found 'step'"):
    make_schedule('step', learning_rate=1.0, warmup_steps=0, total_steps=1)


def slow_adamw(params, gradients, rates, *, decay, clip_norm, b1=0.9, b2=0.98):
  """AdamW in float64 over flat dicts; no decay on biases (Loshchilov and Hutter)."""
  params = {path: np.float64(leaf) for path, leaf in params.items()}
  first = {path: np.zeros_like(leaf) for path, leaf in params.items()}
  second = {path: np.zeros_like(leaf) for path, leaf in params.items()}
  for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
    norm = math.sqrt(sum((np.float64(g) ** 2).sum() for g in gradient.values()))
    scale = clip_norm / norm if clip_norm and norm > clip_norm else 1.0
    for path, leaf in params.items():
      g = scale * np.float64(gradient[path])
      first[path] = b1 * first[path] + (1 - b1) * g
      second[path] = b2 * second[path] + (1 - b2) * g**2
      mean, square = first[path] / (1 - b1**step), second[path] / (1 - b2**step)
      decayed = 0.0 if path[-1] in BIASES else decay * leaf
      params[path] = leaf - rate * (mean / (np.sqrt(square) + 1e-8) + decayed)
  return params


TREE = {
  'up': {'kernel': (3, 2), 'bias': (2,)},
  'ln': {'scale': (2,), 'bias': (2,)},
  'block_gate': (2,),
  'temperature': (),
  'logit_bias': (),
}


def random_tree(rng, *, scale=1.0):
  return jax.tree.map(
    lambda shape: np.float32(scale * rng.normal(size=shape)),
    TREE,
    is_leaf=lambda node: isinstance(node, tuple),
  )


def slow_released_adamw(params, gradients, rates, *, decay, b1=0.9, b2=0.98, eps=1e-8):
  """transformers' AdamW in float64, statement by statement, over flat dicts."""
  params = {path: np.float64(leaf) for path, leaf in params.items()}
  first = {path: np.zeros_like(leaf) for path, leaf in params.items()}
  second = {path: np.zeros_like(leaf) for path, leaf in params.items()}
  for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
    for path in params:
      g = np.float64(gradient[path])
      first[path] = b1 * first[path] + (1 - b1) * g
      second[path] = b2 * second[path] + (1 - b2) * g * g
      denominator = np.sqrt(second[path]) + eps
      size = rate * math.sqrt(1 - b2**step) / (1 - b1**step)
      params[path] = params[path] - size * first[path] / denominator
      if path[-1] not in BIASES:
        params[path] = params[path] - rate * decay * params[path]
  return params


RATES = [0, 0.05, 0.1, 0.075, 0.05]


def five_steps(start, gradients, **settings):
  """The weights after five steps, by path."""
  schedule = make_schedule('linear', learning_rate=0.1, warmup_steps=2, total_steps=6)
  optimizer = make_optimizer(schedule, **settings)
  params, state, update = start, optimizer.init(start), jax.jit(optimizer.update)
  for gradient in gradients:
    updates, state = update(gradient, state, params)
    params = optax.apply_updates(params, updates)
  assert updates_made(state, default=None) == len(gradients)
  return traverse_util.flatten_dict(params)


@pytest.mark.parametrize('clip_norm', [0.0, 2.0])
def test_five_steps_equal_adamw_by_hand(clip_norm):
  rng = np.random.default_rng(0)
  start = random_tree(rng)
  # Norms on both sides of the clip.
  gradients = [random_tree(rng, scale=scale) for scale in (0.1, 3, 1, 0.2, 10)]
  expected = slow_adamw(
    traverse_util.flatten_dict(start),
    [traverse_util.flatten_dict(gradient) for gradient in gradients],
    RATES,
    decay=0.3,
    clip_norm=clip_norm,
  )
  found = five_steps(start, gradients, weight_decay=0.3, clip_norm=clip_norm)
  for path, leaf in found.items():
    np.testing.assert_allclose(leaf, expected[path], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('eps', [1e-8, 1e-2])
def test_five_steps_equal_the_released_adamw_by_hand(eps):
  rng = np.random.default_rng(1)
  start = random_tree(rng)
  gradients = [random_tree(rng, scale=scale) for scale in (0.1, 3, 1, 0.2, 10)]
  flat = [traverse_util.flatten_dict(tree) for tree in (start, *gradients)]
  expected = slow_released_adamw(flat[0], flat[1:], RATES, decay=0.3, eps=eps)
  settings = {'weight_decay': 0.3, 'eps': eps}
  found = five_steps(start, gradients, kind='adamw_released', **settings)
  for path, leaf in found.items():
    np.testing.assert_allclose(leaf, expected[path], rtol=1e-5, atol=1e-6)
  other = five_steps(start, gradients, **settings)
  apart = {path: np.abs(other[path] - found[path]).max() for path in found}
  # The decay tells them apart, and of biases epsilon alone.
  assert min(v for path, v in apart.items() if path[-1] not in BIASES) > 1e-4
  assert (min(v for path, v in apart.items() if path[-1] in BIASES) > 1e-3) == (
    eps == 1e-2
  )


def test_an_unknown_optimizer_is_the_users_mistake():
  with pytest.raises(UserError, match="of adamw, adamw_released; found 'sgd'"):
    make_optimizer(optax.constant_schedule(1.0), kind='sgd')


def test_only_biases_are_not_decayed(params):
  groups = traverse_util.flatten_dict(decay_groups(with_bias(params)))
  undecayed = {path for path, group in groups.items() if group == 'bias'}
  biases = {path for path in groups if path[-1] == 'bias'}
  assert undecayed == biases | {('logit_bias',)}
  assert 0 < len(undecayed) < len(groups)


@pytest.mark.parametrize('kind', KINDS)
def test_frozen_leaves_have_no_optimizer_state(params, kind):
  labels = label_leaves(params, patterns_of('adapters', shared=True))
  trainable, _ = split_params(params, labels)
  optimizer = make_optimizer(optax.constant_schedule(1e-3), kind=kind)
  state = jax.eval_shape(optimizer.init, trainable)
  sizes = [leaf.size for leaf in jax.tree.leaves(state) if leaf.dtype == jnp.float32]
  # Two moments of each trainable number; step counters are integers.
  assert sum(sizes) == 2 * count(trainable)


@pytest.mark.parametrize(('before', 'after'), [(-1, 0.01), (0.07, 0.07), (9, 0.5)])
def test_temperature_stays_inside_its_range(before, after):
  bounded = bound_temperature({'temperature': jnp.float32(before), 'other': 9})
  assert bounded == {'temperature': np.float32(after), 'other': 9}
  assert TEMPERATURE_RANGE == (0.01, 0.5)


@pytest.mark.parametrize(('before', 'after'), [(-1, 0.001), (1 / 118, 1 / 118), (9, 1)])
def test_beside_a_bias_the_temperature_may_be_as_low_as_that_of_siglip(before, after):
  bounded = bound_temperature(
    {'temperature': jnp.float32(before), 'logit_bias': jnp.float32(-99)}
  )
  assert bounded == {'temperature': np.float32(after), 'logit_bias': np.float32(-99)}


def test_a_frozen_temperature_is_not_made_up():
  assert bound_temperature({'other': 9}) == {'other': 9}
