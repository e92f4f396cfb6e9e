import functools

import jax
import numpy as np
import pytest

from harma_jax.objective.anchors import over_anchors
from harma_jax.objective.contrastive import contrastive
from harma_jax.objective.logits import Logits
from harma_jax.objective.triplet import adaptive_triplet


def slow_triplet(
  u, v, ids, *, margin=0.2, gamma=2.0, reduction='mean', hardest=False, mask=True
):
  """METHOD 1 in float64 loops, one value per pair."""
  s, n = u @ v.T, len(u)
  values = np.zeros(n)
  for i in range(n):
    others = [j for j in range(n) if j != i and not (mask and ids[j] == ids[i])]
    of_image = [max(0.0, margin + s[i, j] - s[i, i]) for j in others]
    of_text = [max(0.0, margin + s[j, i] - s[i, i]) for j in others]
    for hinges in (of_image, of_text):
      hinges = [max(hinges, default=0.0)] if hardest else hinges
      values[i] += sum((1 - np.exp(-c)) ** gamma * c if c else 0 for c in hinges) / 2
    if reduction == 'sum':
      values[i] *= n
    elif hardest:
      values[i] *= 428
    else:
      values[i] *= 428 * 427 / max(len(others), 1)
  return values


def random_pairs(n, *, width, seed=0):
  rng = np.random.default_rng(seed)
  u, v = rng.normal(size=(2, n, width))
  u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (u, v))
  return u, v


@pytest.fixture(scope='module')
def pairs():
  return *random_pairs(7, width=4), np.array([7, 3, 7, 5, 7, 3, 0])


def fast(u, v, ids, *, hardest=False, mask=True, **settings):
  settings |= {'hardest': hardest, 'mask_same_image': mask}
  return of_pairs(np.float32(u), np.float32(v), np.int32(ids), **settings)


def of_pairs(u, v, ids, *, hardest=False, **settings):
  negatives = 'hardest' if hardest else 'all'
  loss = functools.partial(adaptive_triplet, negatives=negatives, **settings)
  return over_anchors(loss, u, v, ids)


@pytest.mark.parametrize('reduction', ['sum', 'mean'])
@pytest.mark.parametrize('hardest', [False, True])
@pytest.mark.parametrize('mask', [False, True])
@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_values_equal_loops(pairs, reduction, hardest, mask, gamma):
  settings = {
    'reduction': reduction,
    'hardest': hardest,
    'mask': mask,
    'gamma': gamma,
    'margin': 0.3,
  }
  expected = slow_triplet(*pairs, **settings)
  assert (expected > 0).any()
  np.testing.assert_allclose(fast(*pairs, **settings), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize('hardest', [False, True])
def test_gradients_equal_finite_differences(pairs, gamma, hardest):
  u, v, ids = pairs
  settings = {'gamma': gamma, 'reduction': 'sum', 'hardest': hardest}
  computed = jax.grad(lambda *uv: fast_mean(*uv, ids, **settings), argnums=(0, 1))(
    np.float32(u), np.float32(v)
  )

  def slow_mean(uv):
    return slow_triplet(*uv, ids, **settings).mean()

  uv, step = np.stack([u, v]), 1e-6
  for index in np.ndindex(uv.shape):
    moved = np.zeros_like(uv)
    moved[index] = step
    expected = (slow_mean(uv + moved) - slow_mean(uv - moved)) / (2 * step)
    found = computed[index[0]][index[1:]]
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def fast_mean(u, v, ids, **settings):
  return of_pairs(u, v, ids, **settings).mean()


@pytest.mark.parametrize('hardest', [False, True])
def test_mean_equals_sum_at_the_released_batch(hardest):
  u, v = random_pairs(428, width=8)
  ids = np.arange(428) // 2
  values = [
    fast(u, v, ids, reduction=reduction, hardest=hardest, mask=False)
    for reduction in ('mean', 'sum')
  ]
  np.testing.assert_allclose(*values, rtol=1e-5)


def test_a_masked_mean_equals_the_unmasked_one_without_repeats(pairs):
  u, v, _ = pairs
  values = [fast(u, v, np.arange(7), mask=mask) for mask in (False, True)]
  np.testing.assert_array_equal(*values)


@pytest.fixture(scope='module')
def by_batch():
  """By reduction and batch: the loss, and its gradient's norm over contrastive's."""
  found = {}
  for batch in (64, 428, 1024, 4096):
    u, v = map(np.float32, random_pairs(batch, width=64))
    ids = np.arange(batch)

    def base_loss(similarity, own, same):
      return contrastive(similarity, same, logits=Logits(0.07))

    base = jax.jit(jax.grad(lambda *x: over_anchors(base_loss, *x).mean()))
    base_norm = np.linalg.norm(base(u, v, ids))
    for reduction in ('mean', 'sum') if batch < 4096 else ('mean',):
      triplet = functools.partial(fast_mean, reduction=reduction)
      loss, gradient = jax.jit(jax.value_and_grad(triplet))(u, v, ids)
      found[reduction, batch] = (
        float(loss),
        float(np.linalg.norm(gradient) / base_norm),
      )
  return found


@pytest.mark.parametrize('batch', [64, 1024, 4096])
def test_mean_keeps_the_released_balance_at_any_batch(by_batch, batch):
  released = by_batch['mean', 428]
  assert by_batch['mean', batch] == pytest.approx(released, rel=0.1)


@pytest.mark.parametrize('batch', [64, 1024])
def test_sum_grows_with_the_square_of_the_batch(by_batch, batch):
  growth = batch * (batch - 1) / (428 * 427)
  for value, released in zip(by_batch['sum', batch], by_batch['sum', 428], strict=True):
    assert value == pytest.approx(growth * released, rel=0.1)


def test_only_hinges_are_counted():
  # Every negative is further than the margin: nothing to learn.
  values, gradient = jax.value_and_grad(lambda u: fast_mean(u, u, np.arange(5)))(
    np.eye(5, dtype=np.float32)
  )
  assert values == 0
  assert not gradient.any()


@pytest.mark.parametrize('reduction', ['sum', 'mean'])
@pytest.mark.parametrize('hardest', [False, True])
@pytest.mark.parametrize('gamma', [0.5, 2.0])
def test_pairs_of_one_image_cost_nothing(pairs, reduction, hardest, gamma):
  u, v = map(np.float32, pairs[:2])
  value, gradient = jax.value_and_grad(
    lambda u: fast_mean(
      u, v, np.zeros(7), reduction=reduction, hardest=hardest, gamma=gamma
    )
  )(u)
  assert value == 0
  assert not np.asarray(gradient).any()


@pytest.mark.parametrize('gamma', [2.0, 1.0, 0.5, 0.0])
@pytest.mark.parametrize('margin', [0.0, 0.2])
def test_equal_features_have_finite_gradients(gamma, margin):
  # With margin 0 every hinge lies on its kink.
  u = np.tile(np.float32([0.6, 0.8]), (4, 1))
  value, gradient = jax.value_and_grad(
    lambda u: fast_mean(u, u, np.arange(4), gamma=gamma, margin=margin)
  )(u)
  assert np.isfinite(value)
  assert np.isfinite(gradient).all()


def test_permuting_pairs_permutes_values(pairs):
  order = np.array([3, 1, 5, 0, 6, 4, 2])
  permuted = fast(*(x[order] for x in pairs))
  np.testing.assert_allclose(permuted, fast(*pairs)[order], rtol=1e-5)
