"""Gates on the work of a step that no noise of a machine can move."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.building.model import build_model
from harma_jax.building.step import build_optimizer, build_step, state_shapes
from harma_jax.configs.common import get_config
from harma_jax.devices.mesh import make_mesh
from harma_jax.model.sizes import SIZES, named_size
from harma_jax.stepping.stepper import make_stepper

BATCH = 8


@pytest.fixture(scope='module')
def shallow():
  """The name of a ViT-B/32 with three layers, where one stands for four."""
  size = named_size('ViT-B-32')
  image, text = (dataclasses.replace(s, layers=3) for s in (size.image, size.text))
  SIZES['shallow'] = dataclasses.replace(size, image=image, text=text)
  yield 'shallow'
  del SIZES['shallow']


@pytest.fixture(scope='module')
def flop_of(shallow):
  """`flop_of(tokens=77, **fields)` of a step, by the compiler's count."""

  def count(*, tokens=77, **fields):
    config = get_config()
    named = {'model.size': shallow, 'model.layers': 'unroll'} | fields
    config.update_from_flattened_dict(named)
    model = build_model(config)
    optimizer, schedule = build_optimizer(config, total_steps=10)
    step = build_step(config, model, optimizer, schedule, total_steps=10)
    batch = {
      'images': jax.ShapeDtypeStruct((BATCH, 224, 224, 3), jnp.uint8),
      'tokens': jax.ShapeDtypeStruct((BATCH, tokens), jnp.int32),
      'image_ids': jax.ShapeDtypeStruct((BATCH,), jnp.int32),
      'rows': jax.ShapeDtypeStruct((BATCH,), jnp.int32),
    }
    lowered = jax.jit(step).lower(state_shapes(config, model, optimizer), batch)
    return lowered.compile().cost_analysis()['flops']

  return count


def test_adapters_cost_at_most_70_per_cent_of_full_fine_tuning(flop_of):
  full = flop_of(**{'model.adapters': 'none', 'optimizer.train': 'full'})
  assert 0.3 < flop_of() / full <= 0.70


@pytest.mark.slow
def test_32_tokens_cost_at_most_76_per_cent_of_77(flop_of):
  assert 0.5 < flop_of(tokens=32) / flop_of(tokens=77) <= 0.76


class Counting:
  """A step that is compiled as often as it says."""

  def __init__(self):
    self.lengths = []

  def lower(self, state, resident, batch):
    self.lengths.append(resident['tokens'].shape[1])
    assert resident.keys() == {'tokens', 'images', 'sizes'}
    return types.SimpleNamespace(compile=lambda: self.step)

  @staticmethod
  def step(state, resident, batch):
    return state + 1, {'tokens': resident['tokens'][batch['rows']]}


def test_every_length_is_compiled_once():
  step, tokens = Counting(), np.arange(120, dtype=np.int32).reshape(10, 12)
  images = {'images': jnp.zeros((16, 4, 4, 3), jnp.uint8), 'sizes': jnp.ones((16, 2))}
  step_for = make_stepper(step, tokens=tokens, images=images, mesh=make_mesh())
  state, rows = 0, np.arange(8, dtype=np.int32)
  for length in (12, 5, 12, 8, 5, 5, 12):
    batch = {'rows': rows}
    state, metrics = step_for(state, batch, length=length)(state, batch)
    np.testing.assert_array_equal(metrics['tokens'], tokens[:8, :length])
  assert state == 7
  assert step.lengths == [12, 5, 8]
