import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.model.additions import Additions
from harma_jax.model.sizes import TowerSize
from harma_jax.model.transformer import ACTIVATIONS, Transformer

SIZE = TowerSize(width=12, layers=3, heads=3)


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_activations_equal_their_formulas(slow, name):
  x = np.linspace(-6, 6, 101)
  expected = {
    'gelu': slow['gelu'](x),
    'quick_gelu': x * slow['sigmoid'](1.702 * x),
  }
  computed = ACTIVATIONS[name](jnp.float32(x))
  np.testing.assert_allclose(computed, expected[name], atol=1e-6)
  assert np.abs(expected['gelu'] - expected['quick_gelu']).max() > 0.01


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
