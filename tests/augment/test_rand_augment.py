import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.augment.rand_augment import (
  OPERATIONS,
  all_at_once,
  by_kernel,
  draw_operations,
  one_by_one,
)

SIDE = 19
WAYS = {
  'all at once': all_at_once,
  'one by one': one_by_one,
  'by kernel': functools.partial(by_kernel, interpret=True),
}


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


@pytest.fixture(scope='module')
def planes():
  """An image, five times as often as there are operations."""
  image = np.random.default_rng(0).integers(30, 200, (3, SIDE, SIDE)).astype(np.uint8)
  return jnp.asarray(np.broadcast_to(image, (5 * len(OPERATIONS), *image.shape)))


def _applied(way, planes, operations, negative):
  draws = jnp.asarray(operations), jnp.asarray(negative)
  return np.asarray(jax.jit(functools.partial(way, level=7))(planes, *draws))


def _one_after_the_other(way, planes):
  """Each operation after each: draws of two, and what one at a time gives."""
  n = np.arange(len(planes))
  operations = np.stack([n % len(OPERATIONS), n * 7 // 5 % len(OPERATIONS)], axis=1)
  negative = np.stack([n % 3 == 0, n % 2 == 0], axis=1)
  expected = planes
  for i in (0, 1):
    drawn = operations[:, i : i + 1], negative[:, i : i + 1]
    expected = _applied(way, expected, *drawn)
  return operations, negative, expected


def test_operations_are_applied_one_after_the_other(planes):
  operations, negative, expected = _one_after_the_other(all_at_once, planes)
  actual = _applied(all_at_once, planes, operations, negative)
  np.testing.assert_array_equal(actual, expected)
  assert len({image.tobytes() for image in actual}) > 30


@pytest.mark.parametrize('name', ['one by one', 'by kernel'])
def test_every_way_gives_the_same_bits(planes, name):
  operations, negative, expected = _one_after_the_other(all_at_once, planes)
  actual = _applied(WAYS[name], planes, operations, negative)
  np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize('way', WAYS.values(), ids=WAYS)
def test_no_operations_change_nothing(planes, way):
  none = np.zeros((len(planes), 0), np.int32)
  result = _applied(way, planes, none, none.astype(bool))
  np.testing.assert_array_equal(result, planes)
