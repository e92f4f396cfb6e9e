"""Harmonization against loops in float64, and the identities that define it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.objective.curriculum import keep_above
from harma_jax.objective.harmonize import (
  harmonize,
  harmonize_many,
)


def units(seed, *shape):
  rows = np.random.default_rng(seed).normal(size=shape)
  rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
  return jnp.asarray(rows, jnp.float32)


def linear(*gradients):
  """A loss whose gradients with respect to the embeddings are given."""
  return lambda *embeddings: sum(
    jnp.sum(gradient * embedding)
    for gradient, embedding in zip(gradients, embeddings, strict=True)
  )


@pytest.fixture
def two():
  """Embeddings and gradients of two losses of them, some of which conflict."""
  rng = np.random.default_rng(3)
  embeddings = units(1, 8, 5), units(2, 8, 4)
  gradients = [[rng.normal(size=e.shape).astype(np.float32) for e in embeddings]] * 1
  gradients.append([rng.normal(size=e.shape).astype(np.float32) for e in embeddings])
  gradients[1][0][:4] += 2 * gradients[0][0][:4]
  return embeddings, gradients


def slow(embeddings, first, second, *, shared, realign, threshold, renormalize):
  """One sample after the other, with METHOD's formulas."""
  size = len(embeddings[0])
  cotangents = [np.zeros(e.shape) for e in embeddings]
  cosines, keeps, weights = np.zeros(size), np.ones(size), np.ones((2, size))
  tangents = []
  for i in range(size):
    parts = []
    for gradient in (first, second):
      rows = [
        np.float64(g[i]) - (np.float64(g[i]) @ np.float64(e[i])) * np.float64(e[i])
        for g, e in zip(gradient, map(np.asarray, embeddings), strict=True)
      ]
      parts.append(rows)
    tangents.append(parts)
    a, b = (np.concatenate([rows[k] for k in shared]) for rows in parts)
    d, n_a, n_b = a @ b, a @ a, b @ b
    cosines[i] = d / np.sqrt(n_a * n_b) if n_a and n_b else 0
    if realign and d < 0:
      weights[:, i] = 1 - d / n_a, 1 - d / n_b
    if threshold is not None:
      keeps[i] = cosines[i] > threshold
  if not keeps.any():
    keeps[:] = 1
  for i, (a, b) in enumerate(tangents):
    scale = keeps[i] * (size / keeps.sum() if renormalize else 1)
    for k in range(len(embeddings)):
      cotangents[k][i] = scale * (weights[0, i] * a[k] + weights[1, i] * b[k])
  return cotangents, cosines, keeps, weights


@pytest.mark.parametrize('shared', [None, (0,), (1,)])
@pytest.mark.parametrize('realign', [True, False])
@pytest.mark.parametrize('threshold', [None, -0.2, 0.3, 2.0])
@pytest.mark.parametrize('renormalize', [True, False])
def test_equals_a_loop_over_samples(two, shared, realign, threshold, renormalize):
  embeddings, (first, second) = two
  settings = {'realign': realign, 'threshold': threshold, 'renormalize': renormalize}
  fast = harmonize(
    linear(*first), linear(*second), embeddings, shared=shared, **settings
  )
  cotangents, cosine, keep, weights = slow(
    embeddings, first, second, shared=shared or (0, 1), **settings
  )
  np.testing.assert_allclose(fast.cosine, cosine, atol=2e-6)
  np.testing.assert_array_equal(fast.keep, keep)
  np.testing.assert_allclose(fast.weight_a, weights[0], rtol=1e-5)
  np.testing.assert_allclose(fast.weight_b, weights[1], rtol=1e-5)
  for ours, theirs in zip(fast.cotangents, cotangents, strict=True):
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_some_samples_of_the_toy_conflict_and_some_do_not(two):
  embeddings, (first, second) = two
  cosine = harmonize(linear(*first), linear(*second), embeddings).cosine
  assert (cosine < 0).any()
  assert (cosine > 0.5).any()


def test_realigned_gradients_do_not_conflict(two):
  embeddings, (first, second) = two
  harmonized = harmonize(linear(*first), linear(*second), embeddings)
  a, b = (
    np.concatenate(
      [g - np.sum(g * e, axis=1, keepdims=True) * e
       for g, e in zip(gradient, map(np.asarray, embeddings), strict=True)],
      axis=1,
    )
    for gradient in (first, second)
  )  # fmt: skip
  total = np.concatenate(harmonized.cotangents, axis=1)
  conflict = np.asarray(harmonized.cosine) < 0
  # With a' orthogonal to b and b' to a, the sum is a descent direction of both.
  projected = a - np.sum(a * b, 1, keepdims=True) / np.sum(b * b, 1, keepdims=True) * b
  np.testing.assert_allclose(np.sum(projected * b, axis=1), 0, atol=1e-5)
  assert (np.sum(total * a, axis=1)[conflict] >= -1e-5).all()
  assert (np.sum(total * b, axis=1)[conflict] >= -1e-5).all()
  assert (harmonized.weight_a >= 1).all()
  assert (harmonized.weight_b >= 1).all()
  assert (harmonized.weight_a[~conflict] == 1).all()


def test_without_conflict_the_gradient_is_the_plain_one(two):
  embeddings, (first, _) = two
  loss = linear(*first)
  harmonized = harmonize(loss, loss, embeddings)
  plain = jax.grad(lambda *e: 2 * loss(*e), argnums=(0, 1))(*embeddings)
  assert (harmonized.weight_a == 1).all()
  for cotangent, gradient, unit in zip(
    harmonized.cotangents, plain, embeddings, strict=True
  ):
    tangent = gradient - jnp.sum(gradient * unit, axis=1, keepdims=True) * unit
    np.testing.assert_allclose(cotangent, tangent, atol=1e-6)


def test_a_zero_gradient_has_cosine_zero_and_no_nan(two):
  embeddings, (first, _) = two
  zero = [np.zeros_like(gradient) for gradient in first]
  harmonized = harmonize(linear(*first), linear(*zero), embeddings, threshold=-0.1)
  assert (harmonized.cosine == 0).all()
  assert (harmonized.keep == 1).all()
  assert all(np.isfinite(c).all() for c in harmonized.cotangents)


def test_a_permuted_batch_gives_the_permuted_result(two):
  embeddings, (first, second) = two
  order = np.random.default_rng(0).permutation(8)

  def run(rows):
    losses = (linear(*(g[rows] for g in gradient)) for gradient in (first, second))
    return harmonize(*losses, tuple(e[rows] for e in embeddings), threshold=-0.1)

  one, other = run(np.arange(8)), run(order)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a[order], b, atol=1e-6), one, other
  )


def test_many_losses_are_each_judged_against_the_others():
  embeddings = (units(0, 6, 5),)
  rng = np.random.default_rng(1)
  gradients = rng.normal(size=(3, 6, 5)).astype(np.float32)
  many = harmonize_many(
    [linear(gradient) for gradient in gradients], embeddings, keep_of=keep_above(-0.2)
  )
  unit = np.asarray(embeddings[0], np.float64)
  tangents = gradients - np.sum(gradients * unit, -1, keepdims=True) * unit
  realigned = np.zeros_like(tangents)
  for k in range(3):
    for i in range(6):
      own = tangents[k, i]
      rest = tangents[:, i].sum(axis=0) - own
      d = own @ rest
      cosine = d / np.linalg.norm(own) / np.linalg.norm(rest)
      assert many.cosine[k, i] == pytest.approx(cosine, abs=1e-5)
      assert many.keep[k, i] == (cosine > -0.2)
      realigned[k, i] = own - min(d, 0) / (rest @ rest) * rest
  weighted = np.asarray(many.weight)[..., None] * tangents
  np.testing.assert_allclose(weighted.sum(axis=0), realigned.sum(axis=0), atol=1e-5)
