import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.augment.rand_augment import (
  OPERATIONS,
  apply_operation,
  apply_random_operations,
  draw_operations,
)

apply_operation = functools.partial(jax.jit, static_argnames='level')(apply_operation)
apply_random_operations = functools.partial(
  jax.jit, static_argnames=('count', 'level')
)(apply_random_operations)


@pytest.fixture(scope='module')
def draws():
  """2000 draws of two: indices and signs."""
  keys = jax.random.split(jax.random.key(0), 2000)
  drawn = jax.jit(jax.vmap(lambda key: draw_operations(key, count=2)))(keys)
  return [np.asarray(part) for part in drawn]


def test_half_of_the_operations_are_applied_and_all_are_equally_likely(draws):
  operations, _ = draws
  shares = np.bincount(operations.ravel(), minlength=len(OPERATIONS)) / operations.size
  np.testing.assert_allclose(shares[1:], 0.05, atol=0.015)
  assert shares[0] == pytest.approx(0.55, abs=0.03)
  # Of two independent ones: none, one or both are other than the identity.
  changing = np.bincount((operations > 0).sum(1), minlength=3) / len(operations)
  np.testing.assert_allclose(changing, [0.3025, 0.495, 0.2025], atol=0.035)


def test_signs_are_even_and_independent_of_the_operation(draws):
  operations, negative = draws
  for operation in range(len(OPERATIONS)):
    assert negative[operations == operation].mean() == pytest.approx(0.5, abs=0.15)
  assert negative.mean() == pytest.approx(0.5, abs=0.03)


def test_operations_are_applied_one_after_the_other():
  pixels = np.random.default_rng(0).integers(30, 200, (3, 16, 16)).astype(np.uint8)
  for seed in range(6):
    key = jax.random.key(seed)
    expected = jnp.asarray(pixels)
    for operation, negative in zip(*draw_operations(key, count=3), strict=True):
      expected = apply_operation(expected, operation, negative, level=7)
    actual = apply_random_operations(key, jnp.asarray(pixels), count=3, level=7)
    np.testing.assert_array_equal(actual, expected)


def test_no_operations_change_nothing():
  pixels = jnp.arange(300, dtype=jnp.uint8).reshape(3, 10, 10)
  result = apply_random_operations(jax.random.key(0), pixels, count=0, level=0)
  np.testing.assert_array_equal(result, pixels)
