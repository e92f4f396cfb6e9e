"""Dense layers beside those of Flax, and the sum that TPUs take as a product."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.model import dense
from harma_jax.model.dense import Dense, add_bias

SHAPES = [(5, 12), (2, 5, 12), (2, 3, 5, 12)]


@pytest.fixture(scope='module')
def params():
  rng = np.random.default_rng(0)
  shapes = {'kernel': (12, 20), 'bias': (20,)}
  return {
    name: jnp.asarray(rng.normal(size=shape), jnp.float32)
    for name, shape in shapes.items()
  }


def value_and_gradients(module, params, x, **settings):
  """With a cotangent that differs by place."""

  @jax.jit
  def both(params, x, settings):
    def apply(params, x, settings):
      return module.apply({'params': params}, x, **settings)

    value, pull_back = jax.vjp(apply, params, x, settings)
    return value, pull_back(jnp.cos(jnp.arange(value.size)).reshape(value.shape))

  with jax.numpy_rank_promotion('allow'):  # Flax adds its bias by it
    return both(params, x, settings)


def assert_close(one, other, *, tolerance=1e-6):
  pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
  for computed, expected in pairs:
    scale = np.abs(expected).max()
    np.testing.assert_allclose(computed, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize('shape', SHAPES)
def test_value_and_gradients_equal_those_of_flax(params, shape):
  x = jax.random.normal(jax.random.key(1), shape)
  computed = value_and_gradients(Dense(20, jnp.float32), params, x)
  assert_close(computed, value_and_gradients(nn.Dense(20), params, x))


def test_the_tree_and_its_beginning_are_those_of_flax():
  key, x = jax.random.key(2), jnp.zeros((2, 12))
  for settings in ({}, {'kernel_init': nn.initializers.normal(0.1)}):
    computed = Dense(20, jnp.float32, **settings).init(key, x)
    expected = nn.Dense(20, **settings).init(key, x)
    jax.tree.map(np.testing.assert_array_equal, computed, expected)


def test_products_are_in_the_given_dtype_and_parameters_keep_theirs(params):
  x = jax.random.normal(jax.random.key(1), (2, 5, 12))
  module = Dense(20, jnp.bfloat16)
  value, pull_back = jax.vjp(lambda params: module.apply({'params': params}, x), params)
  (gradients,) = pull_back(jnp.ones_like(value))
  assert value.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype('float32')}
  np.testing.assert_array_equal(gradients['bias'], 10)
  kernel, rows = (a.astype(jnp.bfloat16) for a in (params['kernel'], x))
  expected = rows @ kernel + params['bias'].astype(jnp.bfloat16)[None, None]
  np.testing.assert_array_equal(value, expected)


def test_a_factor_scales_all_that_is_added(params):
  x = jax.random.normal(jax.random.key(1), (2, 5, 12))

  class Scaled(nn.Module):
    @nn.compact
    def __call__(self, x, *, scale):
      return scale * nn.Dense(20, parent=self.scope)(x)

  module = Dense(20, jnp.float32)
  with_factor = value_and_gradients(module, params, x, scale=jnp.float32(0.3))
  expected = value_and_gradients(Scaled(), params, x, scale=jnp.float32(0.3))
  assert_close(with_factor, expected)
  assert np.abs(with_factor[1][2]['scale']) > 0.1


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('shape', SHAPES)
def test_a_bias_is_added_and_its_gradient_is_the_sum(shape, dtype):
  x = jax.random.normal(jax.random.key(1), shape).astype(dtype)
  bias = jnp.arange(12, dtype=dtype)
  value, pull_back = jax.vjp(add_bias, x, bias)
  np.testing.assert_array_equal(value, np.asarray(x) + np.asarray(bias))
  rows = jax.random.normal(jax.random.key(2), shape).astype(dtype)
  of_x, of_bias = pull_back(rows)
  np.testing.assert_array_equal(of_x, rows)
  assert of_bias.dtype == dtype
  expected = np.asarray(rows, np.float64).reshape(-1, 12).sum(axis=0)
  unit = jnp.finfo(dtype).eps
  np.testing.assert_allclose(np.float64(of_bias), expected, rtol=unit, atol=16 * unit)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('count', [1, 7, 300])
def test_the_product_of_tpus_is_the_sum(count, dtype):
  rows = jax.random.normal(jax.random.key(3), (count, 12)).astype(dtype)
  computed = dense._sum_by_product(rows)
  assert computed.dtype == dtype
  assert computed.shape == (12,)
  expected = np.asarray(rows, np.float64).sum(axis=0)
  unit = jnp.finfo(dtype).eps  # half precision is summed in f32
  np.testing.assert_allclose(np.float64(computed), expected, rtol=unit, atol=1e-5)


def test_programs_for_tpus_take_the_product_in_full_precision():
  rows, bias = jnp.ones((4, 12)), jnp.ones(12)
  gradient = jax.jit(jax.grad(lambda bias: (2 * add_bias(rows, bias)).sum()))
  traced = gradient.trace(bias)
  for_tpu, for_cpu = (
    traced.lower(lowering_platforms=(platform,)).as_text()
    for platform in ('tpu', 'cpu')
  )
  assert for_tpu.count('precision = [HIGHEST, HIGHEST]') == 1
  assert 'dot_general' not in for_cpu
