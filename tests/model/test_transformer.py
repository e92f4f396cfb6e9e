import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.model.additions import Additions
from harma_jax.model.sizes import TowerSize
from harma_jax.model.transformer import ACTIVATIONS, LayerNorm, Transformer

SIZE = TowerSize(width=12, layers=3, heads=3)


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_activations_equal_their_formulas(slow, name):
  x = np.linspace(-6, 6, 101)
  expected = {
    'gelu': slow['gelu'](x),
    'gelu_tanh': x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    'quick_gelu': x * slow['sigmoid'](1.702 * x),
  }
  computed = ACTIVATIONS[name](jnp.float32(x))
  np.testing.assert_allclose(computed, expected[name], atol=1e-6)
  assert np.abs(expected['gelu'] - expected['quick_gelu']).max() > 0.01
  assert np.abs(expected['gelu'] - expected['gelu_tanh']).max() > 1e-4


def normalized(module, params, x, cotangent):
  """The value and the gradients by parameters and x."""

  @jax.jit
  def both(params, x):
    value, pull_back = jax.vjp(
      lambda *of: module.apply({'params': of[0]}, of[1]), params, x
    )
    return value, *pull_back(cotangent.astype(value.dtype))

  return both(params, x)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('shape', [(3, 64), (2, 5, 64)])
def test_layer_norm_is_that_of_flax_to_the_bit(shape, dtype):
  rng = np.random.default_rng(0)
  x, cotangent = (jnp.asarray(rng.normal(1, 3, shape), dtype) for _ in range(2))
  params = {
    name: jnp.asarray(rng.normal(1, 0.3, 64), jnp.float32) for name in ('scale', 'bias')
  }
  of_flax = nn.LayerNorm(epsilon=1e-5, dtype=dtype)
  computed, *own = normalized(LayerNorm(dtype), params, x, cotangent)
  expected, *theirs = normalized(of_flax, params, x, cotangent)
  assert computed.dtype == dtype
  np.testing.assert_array_equal(computed, expected)
  jax.tree.map(np.testing.assert_array_equal, own[0], theirs[0])
  # Flax rounds two parts of the gradient by x before it adds them up.
  exact = normalized(LayerNorm(jnp.float32), params, *map(jnp.float32, (x, cotangent)))
  missed = [np.linalg.norm(np.float32(found[1]) - exact[2]) for found in (own, theirs)]
  size = np.linalg.norm(exact[2])
  assert missed[0] <= missed[1] <= 2 * jnp.finfo(dtype).eps * size


@pytest.fixture(scope='module')
def stack():
  x = jax.random.normal(jax.random.key(0), (2, 4, 12))
  plain = Transformer(SIZE, 'gelu', causal=True, adapter=Additions(), dtype=jnp.float32)
  params = plain.init(jax.random.key(1), x)
  return params, x


def run(stack, **settings):
  params, x = stack
  settings = {'causal': True, 'adapter': Additions(), 'dtype': jnp.float32} | settings
  return Transformer(SIZE, 'gelu', **settings).apply(params, x)


def test_parameters_are_stacked_and_differ_by_layer(stack):
  kernel = stack[0]['params']['blocks']['mlp']['up']['kernel']
  assert kernel.shape == (3, 12, 48)
  assert len(np.unique(np.asarray(kernel)[:, 0, 0])) == 3


def test_hidden_states_are_the_output_of_every_block(stack):
  x, none = run(stack)
  kept, hidden = run(stack, keep_hidden=True)
  assert none is None
  assert hidden.shape == (3, 2, 4, 12)
  np.testing.assert_array_equal(hidden[-1], kept)
  np.testing.assert_allclose(kept, x, atol=1e-6)


def test_causal_blocks_do_not_look_ahead(stack):
  params, x = stack
  changed = (params, x.at[:, 3].multiply(-1))
  before, after = run(stack)[0], run(changed)[0]
  np.testing.assert_array_equal(before[:, :3], after[:, :3])
  free = [run(each, causal=False)[0][:, :3] for each in (stack, changed)]
  assert np.abs(free[0] - free[1]).max() > 1e-3
