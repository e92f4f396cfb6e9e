import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.model.attention import Attention, Kernel


@pytest.fixture(params=['xla', 'plain'])
def kernel(request):
  return Kernel(name=request.param)


@pytest.fixture(scope='module')
def row():
  return np.random.default_rng(0).normal(size=(5, 12))


@pytest.fixture(scope='module')
def params():
  rng = np.random.default_rng(1)
  return {
    'qkv': {'kernel': rng.normal(size=(12, 36)), 'bias': rng.normal(size=36)},
    'out': {'kernel': rng.normal(size=(12, 12)), 'bias': rng.normal(size=12)},
  }


def fast(params, row, *, mask=None, **settings):
  module = Attention(heads=3, dtype=jnp.float32, **settings)
  params = jax.tree.map(jnp.float32, params)
  return module.apply({'params': params}, jnp.float32(row)[None], mask=mask)[0]


def test_equals_loops(slow, params, row, kernel):
  allowed = np.ones((5, 5), bool)
  expected = slow['attention'](params, row, heads=3, allowed=allowed)
  np.testing.assert_allclose(
    fast(params, row, kernel=kernel), expected, rtol=1e-4, atol=1e-4
  )


def test_causal_sees_no_later_position(slow, params, row, kernel):
  allowed = np.tril(np.ones((5, 5), bool))
  expected = slow['attention'](params, row, heads=3, allowed=allowed)
  computed = fast(params, row, causal=True, kernel=kernel)
  np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-4)


def test_masked_positions_are_not_attended_to(slow, params, row, kernel):
  mask = np.array([True, True, False, True, False])
  expected = slow['attention'](params, row, heads=3, allowed=np.tile(mask, (5, 1)))
  computed = fast(params, row, mask=mask[None], kernel=kernel)
  np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-4)


def test_bf16_stays_near_f32(params, row, kernel):
  small = jax.tree.map(lambda leaf: leaf / 3, params)
  module = Attention(heads=3, dtype=jnp.bfloat16, kernel=kernel)
  rounded = module.apply({'params': jax.tree.map(jnp.float32, small)}, row[None])[0]
  assert rounded.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    np.float32(rounded), fast(small, row), rtol=0.05, atol=0.05
  )


@pytest.mark.parametrize('causal', [False, True])
@pytest.mark.parametrize('masked', [False, True])
def test_gradients_of_the_plain_form_are_those_of_jax(causal, masked):
  qkv = jax.random.normal(jax.random.key(0), (4, 11, 3 * 32))
  lengths = jnp.array([[3], [11], [5], [1]])
  mask = jnp.arange(11)[None] < lengths if masked else None

  def gradient(name):
    def total(qkv):
      found = Kernel(name=name)(qkv, mask, heads=4, causal=causal)
      return jnp.square(found).sum()

    return jax.grad(total)(qkv)

  np.testing.assert_allclose(gradient('plain'), gradient('xla'), rtol=1e-5, atol=1e-5)


def test_the_plain_form_stands_logits_of_any_size():
  qkv = 100 * jax.random.normal(jax.random.key(0), (2, 7, 3 * 8))
  found = Kernel(name='plain')(qkv, None, heads=2, causal=False)
  expected = Kernel(name='xla')(qkv, None, heads=2, causal=False)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)
