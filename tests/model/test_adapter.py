import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.model.adapter import AdapterSettings, GatedAdapter, SharedAdapter

SETTINGS = AdapterSettings(bottleneck=8, shared_bottleneck=4, heads=2)


@pytest.fixture(scope='module')
def hidden():
  return np.random.default_rng(0).normal(size=(2, 5, 12)).astype(np.float32)


@pytest.fixture(scope='module')
def fresh(hidden):
  """Parameters of a fresh adapter and of a fresh shared one."""
  gated, shared = (
    kind(SETTINGS, jnp.float32).init(jax.random.key(1), x)['params']
    for kind, x in ((GatedAdapter, hidden), (SharedAdapter, hidden[..., :8]))
  )
  return gated, shared


@pytest.fixture(scope='module')
def filled(fresh):
  rng = np.random.default_rng(2)
  return jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape), fresh)


def apply(kind, params, x, **settings):
  params = jax.tree.map(jnp.float32, params)
  return kind(SETTINGS, jnp.float32).apply({'params': params}, x, **settings)


@pytest.mark.parametrize('shares', [False, True])
@pytest.mark.parametrize('masked', [False, True])
def test_equals_the_formula(slow, hidden, filled, shares, masked):
  gated, shared = filled
  shared = shared if shares else None
  mask = np.arange(5)[None] < np.array([[5], [3]] if masked else [[5], [5]])
  change = apply(GatedAdapter, gated, hidden, shared=shared, mask=mask)
  for row, seen, computed in zip(hidden, mask, change, strict=True):
    allowed = np.tile(seen, (5, 1))
    adapted = slow['adapter'](gated, row, shared=shared, heads=2, allowed=allowed)
    np.testing.assert_allclose(computed, adapted - row, rtol=1e-4, atol=1e-4)


def test_shared_part_equals_the_formula(slow, hidden, filled):
  a, allowed = hidden[..., :8], np.ones((5, 5), bool)
  computed = apply(SharedAdapter, filled[1], a)
  for row, value in zip(a, computed, strict=True):
    expected = slow['shared_adapter'](filled[1], row, heads=2, allowed=allowed)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


def test_fresh_adapters_change_nothing(hidden, fresh):
  gated, shared = fresh
  assert not apply(GatedAdapter, gated, hidden, shared=shared).any()
  a = hidden[..., :8]
  np.testing.assert_array_equal(apply(SharedAdapter, shared, a), a)


def test_fresh_gates_and_up_projections_are_as_released(fresh):
  gated, shared = fresh
  assert gated['adapter_gate'] == shared['shared_gate'] == np.float32(0.6)
  assert not any(leaf.any() for leaf in jax.tree.leaves([gated['up'], shared['up']]))
  assert gated['down']['kernel'].any()
  assert shared['down']['kernel'].any()


def test_a_fresh_adapter_learns_through_its_up_projection(hidden, fresh):
  gated, shared = fresh
  gradient = jax.jit(
    jax.grad(lambda params: apply(GatedAdapter, params, hidden, shared=shared).sum())
  )(gated)
  assert gradient['up']['kernel'].any()
