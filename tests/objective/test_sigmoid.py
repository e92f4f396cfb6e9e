"""The sigmoid loss: values and gradients by loops, and what a conflict is under it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.objective.alignment import make_objective
from harma_jax.objective.anchors import DIRECTIONS, over_anchors
from harma_jax.objective.head import harmonized_head
from harma_jax.objective.logits import Logits
from harma_jax.objective.sigmoid import first_bias, sigmoid, sigmoid_repulsion

LOGITS = Logits(0.1, -2.0)
START = Logits(0.1, -10.0)
OFF = {
  'realign': False,
  'curriculum': 'off',
  'indicator': 'conflict',
  'threshold': (0.0, 0.0),
  'unit': 'cosine',
  'start_step': 0,
  'anneal_steps': 1,
  'renormalize': True,
  'seed': 0,
  'contrastive': 'sigmoid',
}


def slow_sigmoid(u, v, ids, *, logits=LOGITS):
  """SIGLIP's formula in float64 loops over all pairs, f64[]."""
  temperature, bias = map(float, logits)
  total = 0.0
  for i in range(len(u)):
    for j in range(len(v)):
      sign = 1 if ids[i] == ids[j] else -1
      total += math.log1p(math.exp(-sign * (float(u[i] @ v[j]) / temperature + bias)))
  return total / len(u)


def loss_of(u, v, ids, *, logits=LOGITS, directions=DIRECTIONS, chunk=0):
  def loss(similarity, own, same):
    return sigmoid(similarity, same, logits=logits)

  return over_anchors(loss, u, v, ids, directions=directions, chunk=chunk)


def units(seed, *, n=6, width=4):
  rows = np.random.default_rng(seed).normal(size=(n, width))
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


IDS = np.array([7, 3, 7, 5, 7, 3])


@pytest.fixture(scope='module')
def pairs():
  return units(0), units(1), IDS


def in_float32(u, v, ids):
  return np.float32(u), np.float32(v), np.int32(ids)


@pytest.mark.parametrize('logits', [LOGITS, START, Logits(0.01, -13.0)])
def test_the_mean_equals_loops_over_all_pairs(pairs, logits):
  found = loss_of(*in_float32(*pairs), logits=logits).mean()
  assert float(found) == pytest.approx(slow_sigmoid(*pairs, logits=logits), rel=1e-5)


def test_it_is_the_published_loss_where_every_image_has_one_caption(pairs):
  torch, loss = pytest.importorskip('torch'), pytest.importorskip('open_clip.loss')
  u, v, _ = in_float32(*pairs)
  expected = loss.SigLipLoss()(*map(torch.tensor, (u, v, 10.0, -2.0)))
  found = loss_of(u, v, np.arange(6)).mean()
  assert float(found) == pytest.approx(expected.item(), rel=1e-5)


def test_all_captions_of_an_image_are_positives(pairs):
  u, v, _ = in_float32(*pairs)
  same = loss_of(u, v, np.zeros(6, np.int32), logits=Logits(1.0, 30.0))
  np.testing.assert_allclose(same, 0, atol=1e-9)
  others = loss_of(u, v, np.arange(6), logits=Logits(1.0, 30.0))
  np.testing.assert_allclose(others, 5 * 30, rtol=0.2)


def test_gradients_of_features_temperature_and_bias_equal_differences(pairs):
  u, v, ids = pairs
  gradients = jax.grad(
    lambda u, v, logits: loss_of(u, v, np.int32(ids), logits=logits).mean(),
    argnums=(0, 1, 2),
  )(np.float32(u), np.float32(v), Logits(*map(np.float32, LOGITS)))
  expected = [
    differences(lambda u: slow_sigmoid(u, v, ids), u),
    differences(lambda v: slow_sigmoid(u, v, ids), v),
    differences(lambda t: slow_sigmoid(u, v, ids, logits=Logits(t, -2.0)), 0.1),
    differences(lambda b: slow_sigmoid(u, v, ids, logits=Logits(0.1, b)), -2.0),
  ]
  for one, other in zip(jax.tree.leaves(gradients), expected, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def differences(f, x, *, step=1e-5):
  x = np.asarray(x, np.float64)
  gradient = np.zeros_like(x)
  for index in np.ndindex(x.shape):
    moved = np.zeros_like(x)
    moved[index] = step
    gradient[index] = (f(x + moved) - f(x - moved)) / (2 * step)
  return gradient


def test_both_directions_are_one_loss(pairs):
  pairs = in_float32(*pairs)
  one, other = (
    jax.value_and_grad(lambda u, d=d: loss_of(u, *pairs[1:], directions=(d,)).mean())(
      pairs[0]
    )
    for d in DIRECTIONS
  )
  np.testing.assert_allclose(one[0], other[0], rtol=1e-6)
  np.testing.assert_allclose(one[1], other[1], atol=1e-6)


def test_permuting_pairs_permutes_values(pairs):
  order = np.array([3, 1, 5, 0, 4, 2])
  permuted = loss_of(*in_float32(*(x[order] for x in pairs)))
  expected = loss_of(*in_float32(*pairs))[order]
  np.testing.assert_allclose(permuted, expected, rtol=1e-5)


@pytest.mark.parametrize('bias', [-1e4, 0.0, 1e4])
def test_far_logits_stay_finite(pairs, bias):
  value, gradients = jax.value_and_grad(
    lambda u, v, logits: loss_of(u, v, np.int32(IDS), logits=logits).mean(),
    argnums=(0, 1, 2),
  )(*in_float32(*pairs)[:2], Logits(np.float32(1e-3), np.float32(bias)))
  assert np.isfinite(value)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_repulsion_is_what_the_positives_leave_of_the_loss(pairs):
  u, v, ids = in_float32(*pairs)
  similarity, same = u @ v.T, ids[:, None] == ids[None, :]
  logits = similarity / LOGITS.temperature + LOGITS.bias
  attraction = jnp.sum(jnp.where(same, jax.nn.softplus(-logits), 0), axis=1)
  found = sigmoid_repulsion(similarity, same, logits=LOGITS)
  whole = sigmoid(similarity, same, logits=LOGITS)
  np.testing.assert_allclose(found + attraction, whole, rtol=1e-5)


# Conflicts


def objective(**changes):
  settings = {'contrastive_weight': 1.0, 'triplet_weight': 0.0, 'margin': 0.2}
  return make_objective(
    **settings | changes,
    gamma=2.0,
    triplet_reduction='mean',
    mask_same_image=True,
    contrastive='sigmoid',
  )


def tangent(gradient, unit):
  return gradient - (gradient @ unit) * unit


def slow_pull(unit, others, ids, own, *, logits):
  """`n_i dL/du_i` of an image and one caption of each: a sum of single pairs."""
  pull = np.zeros_like(unit)
  for other, id_ in zip(others, ids, strict=True):
    sign = 1 if id_ == own else -1
    z = unit @ other / logits.temperature + logits.bias
    pull -= sign * other / (1 + math.exp(sign * z)) / logits.temperature
  return tangent(pull, unit)


def cosine_of(a, b):
  return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def features(n_captions, *, width=4):
  u, *captions = (units(k, width=width) for k in range(1 + n_captions))
  return u, captions


def measured(pair, u, captions, *, logits, **settings):
  head = harmonized_head(objective(), pair=pair, **OFF | settings)
  arrays = jnp.float32(u), tuple(map(jnp.float32, captions))
  scalars = Logits(*map(jnp.float32, logits))
  return head(*arrays, scalars, jnp.int32(IDS), jnp.int32(0))


@pytest.mark.parametrize('logits', [LOGITS, START])
@pytest.mark.parametrize('n_captions', [2, 3])
def test_conflicts_of_captions_equal_loops(logits, n_captions):
  u, captions = features(n_captions)
  headed = measured('captions', u, captions, logits=logits)
  for i, unit in enumerate(u):
    pulls = np.array([slow_pull(unit, v, IDS, IDS[i], logits=logits) for v in captions])
    for k, own in enumerate(pulls):
      rest = pulls.sum(axis=0) - own
      assert headed.cosine[k, i] == pytest.approx(cosine_of(own, rest), abs=2e-4)


def test_realigned_captions_equal_loops():
  u, captions = features(2)
  headed = measured('captions', u, captions, logits=LOGITS, realign=True)
  assert (np.asarray(headed.cosine) < 0).any()
  for i, unit in enumerate(u):
    a, b = (slow_pull(unit, v, IDS, IDS[i], logits=LOGITS) for v in captions)
    inner = min(a @ b, 0)
    turned = a - inner / (b @ b) * b + b - inner / (a @ a) * a
    expected = turned / (2 * len(u))
    np.testing.assert_allclose(headed.cotangents[0][i], expected, rtol=1e-3, atol=1e-5)


def test_at_the_first_logits_a_conflict_is_that_of_the_captions_alone():
  """No negative pulls there: on the tangent space, captions apart from each other."""
  u, captions = features(2, width=64)
  ids = np.arange(len(u))
  head = harmonized_head(objective(), pair='captions', **OFF)
  arrays = jnp.float32(u), tuple(map(jnp.float32, captions))
  headed = head(*arrays, START, jnp.int32(ids), jnp.int32(0))
  for i, unit in enumerate(u):
    expected = cosine_of(*(tangent(v[i], unit) for v in captions))
    assert headed.cosine[0, i] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize('logits', [LOGITS, START])
def test_conflicts_with_uniformity_equal_loops(logits):
  u, (v,) = features(1)
  headed = measured('uniformity', u, [v], logits=logits)
  for i in range(len(u)):
    attraction, repulsion = [], []
    for own, other in ((u, v), (v, u)):
      attraction.append(tangent(-other[i], own[i]))
      pull = np.zeros_like(own[i])
      for j in np.flatnonzero(IDS[i] != IDS):
        z = own[i] @ own[j] / logits.temperature + logits.bias
        pull += own[j] / (1 + math.exp(-z))
      repulsion.append(tangent(pull, own[i]))
    expected = cosine_of(np.concatenate(attraction), np.concatenate(repulsion))
    assert headed.cosine[0, i] == pytest.approx(expected, abs=2e-4)


def test_uniformity_judges_as_the_losss_own_attraction_would():
  """A sample's share of `log sigmoid` only scales what pulls it to its caption."""
  u, (v,) = features(1)
  for i in range(len(u)):
    scale = 1 / (1 + math.exp(u[i] @ v[i] / 0.1 - 2.0))
    found = jax.grad(lambda row, v=v[i]: -jax.nn.log_sigmoid(row @ v / 0.1 - 2.0))(
      jnp.float32(u[i])
    )
    np.testing.assert_allclose(found, -scale * v[i] / 0.1, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('pair', ['captions', 'uniformity', 'objectives'])
def test_the_scalars_get_the_gradient_of_the_unmodified_loss(pair):
  u, captions = features(2 if pair == 'captions' else 1)
  whole = objective(triplet_weight=0.001)
  settings = OFF | {'curriculum': 'drop', 'threshold': (0.5, 0.5), 'unit': 'share'}
  head = harmonized_head(whole, pair=pair, **settings)
  arrays = jnp.float32(u), tuple(map(jnp.float32, captions))
  scalars = Logits(*map(jnp.float32, LOGITS))
  headed = head(*arrays, scalars, jnp.int32(IDS), jnp.int32(0))
  assert 0 < float(headed.keep.sum()) < headed.keep.size

  def loss(logits):
    values = [whole(arrays[0], v, IDS, logits=logits)[0] for v in arrays[1]]
    return sum(values) / len(values)

  expected = jax.grad(loss)(scalars)
  np.testing.assert_allclose(headed.cotangents[2], expected, rtol=1e-5)


# Balance


@functools.cache
def gradient_norms(*, spread):
  """Of the features: contrastive softmax and sigmoid, and triplet."""
  rng = np.random.default_rng(0)
  u = rng.normal(size=(128, 64))
  v = u + spread * rng.normal(size=u.shape)
  u, v = (jnp.float32(x / np.linalg.norm(x, axis=1, keepdims=True)) for x in (u, v))

  def norm(**settings):
    settings = {'contrastive_weight': 0.0, 'triplet_weight': 0.0} | settings
    loss = make_objective(
      margin=0.2, gamma=2.0, triplet_reduction='mean', mask_same_image=True, **settings
    )
    logits = START if settings.get('contrastive') == 'sigmoid' else Logits(0.07)
    gradient = jax.grad(lambda u: loss(u, v, jnp.arange(128), logits=logits)[0])
    return float(jnp.linalg.norm(jax.jit(gradient)(u)))

  return {
    'softmax': norm(contrastive_weight=1.0),
    'sigmoid': norm(contrastive_weight=1.0, contrastive='sigmoid'),
    'triplet': norm(triplet_weight=1.0),
  }


def test_the_triplet_loss_weighs_as_much_beside_either_loss():
  """It sees no logits, and both losses pull at a pair with about 1 / temperature."""
  norms = gradient_norms(spread=5.0)
  assert 0.3 < norms['sigmoid'] / norms['softmax'] < 3
  assert norms['triplet'] > 100 * norms['softmax']


@pytest.mark.parametrize('batch', [2, 5, 128])
def test_the_first_bias_is_the_best_where_all_features_are_orthogonal(batch):
  def loss(bias):
    u = np.zeros((batch, 3))
    return slow_sigmoid(u, u, range(batch), logits=(0.1, bias))

  bias = first_bias(batch)
  assert loss(bias) < min(loss(bias - 0.1), loss(bias + 0.1))


def test_the_first_bias_of_siglips_batch_is_about_siglips():
  assert first_bias(32_768) == pytest.approx(-10, abs=0.5)
  assert first_bias(1) == 0
