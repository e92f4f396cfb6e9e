import math

import jax
import numpy as np
import pytest

from harma_jax.objective.anchors import over_anchors
from harma_jax.objective.contrastive import contrastive
from harma_jax.objective.logits import Logits

TEMPERATURE = 0.07


def slow_contrastive(u, v, ids, *, temperature=TEMPERATURE):
  """METHOD 1 in float64 loops, one value per pair."""
  n = len(u)
  s = [[float(np.dot(u[i], v[j])) / temperature for j in range(n)] for i in range(n)]
  values = []
  for i in range(n):
    to_text = math.log(sum(math.exp(s[i][k]) for k in range(n)))
    to_image = math.log(sum(math.exp(s[k][i]) for k in range(n)))
    positives = [j for j in range(n) if ids[j] == ids[i]]
    logs = [s[i][j] - to_text + s[j][i] - to_image for j in positives]
    values.append(-0.5 * sum(logs) / len(positives))
  return np.array(values)


def central_differences(f, x, *, step=1e-5):
  gradient = np.zeros_like(x)
  for index in np.ndindex(x.shape):
    moved = np.zeros_like(x)
    moved[index] = step
    gradient[index] = (f(x + moved) - f(x - moved)) / (2 * step)
  return gradient


@pytest.fixture(scope='module')
def pairs():
  rng = np.random.default_rng(0)
  u, v = rng.normal(size=(2, 6, 4))
  u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (u, v))
  return u, v, np.array([7, 3, 7, 5, 7, 3])


def of_pairs(u, v, ids, *, temperature=TEMPERATURE):
  def loss(similarity, own, same):
    return contrastive(similarity, same, logits=Logits(temperature))

  return over_anchors(loss, u, v, ids)


def fast(u, v, ids, *, temperature=TEMPERATURE):
  u, v = np.float32(u), np.float32(v)
  return of_pairs(u, v, np.int32(ids), temperature=np.float32(temperature))


@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_values_equal_loops(pairs, temperature):
  expected = slow_contrastive(*pairs, temperature=temperature)
  computed = fast(*pairs, temperature=temperature)
  np.testing.assert_allclose(computed, expected, rtol=2e-5)


def test_without_repeats_it_is_infonce(pairs):
  u, v, _ = pairs
  logits = u @ v.T / TEMPERATURE
  rows, columns = (
    np.log(np.exp(x).sum(axis=1)) - np.diag(x) for x in (logits, logits.T)
  )
  computed = fast(u, v, np.arange(6))
  np.testing.assert_allclose(computed, (rows + columns) / 2, rtol=2e-5)


def test_gradients_equal_finite_differences(pairs):
  u, v, ids = pairs
  gradients = jax.grad(
    lambda u, v, t: of_pairs(u, v, ids, temperature=t).mean(), argnums=(0, 1, 2)
  )(np.float32(u), np.float32(v), np.float32(TEMPERATURE))
  expected = (
    central_differences(lambda u: slow_contrastive(u, v, ids).mean(), u),
    central_differences(lambda v: slow_contrastive(u, v, ids).mean(), v),
    central_differences(
      lambda t: slow_contrastive(u, v, ids, temperature=float(t)).mean(),
      np.array(TEMPERATURE),
    ),
  )
  for one, other in zip(gradients, expected, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_permuting_pairs_permutes_values(pairs):
  order = np.array([3, 1, 5, 0, 4, 2])
  permuted = fast(*(x[order] for x in pairs))
  np.testing.assert_allclose(permuted, fast(*pairs)[order], rtol=1e-5)


def test_perfect_features_at_a_low_temperature_cost_nothing():
  values = fast(np.eye(6), np.eye(6), np.arange(6), temperature=0.01)
  np.testing.assert_allclose(values, 0, atol=1e-6)


def test_pairs_of_one_image_and_equal_features_stay_finite():
  u = np.tile(np.float32([1, 0]), (4, 1))
  ids = np.zeros(4, np.int32)
  value, gradient = jax.value_and_grad(
    lambda u: of_pairs(u, u, ids, temperature=0.01).mean()
  )(u)
  assert value == pytest.approx(math.log(4))
  assert np.isfinite(gradient).all()
