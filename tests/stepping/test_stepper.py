"""Several steps in one program, and what it takes of the batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harma_jax.devices.mesh import batch_sharding, make_mesh
from harma_jax.stepping.step import (
  compile_step,
  guard,
  init_state,
  place_state,
  take_several,
)
from harma_jax.stepping.stepper import make_stepper, place_group

TOKENS = np.arange(40, dtype=np.int32).reshape(10, 4)


def move(state, batch):
  """Adds the tokens' mean; the loss of a batch with row 9 is not a number."""
  loss = jnp.where((batch['rows'] == 9).any(), jnp.nan, batch['tokens'].mean())
  moved = {'kernel': state.trainable['kernel'] * 0.5 + loss}
  after = state.replace(
    step=state.step + 1,
    trainable=moved,
    optimizer_state=jax.tree.map(lambda leaf: leaf + 1, state.optimizer_state),
  )
  return after, {'loss': loss, 'gradient_norm': loss}


def inputs(resident, batch):
  return batch | {'tokens': resident['tokens'][batch['rows']]}


def start(mesh):
  optimizer = optax.scale_by_schedule(optax.constant_schedule(1.0))
  state = init_state({'kernel': jnp.zeros(())}, {}, optimizer=optimizer)
  return place_state(state, mesh=mesh)


def batches(*first_rows):
  return [({'rows': np.arange(8, dtype=np.int32) + first}, 4) for first in first_rows]


def take(group, *, size, step=move, mesh=None):
  mesh = mesh or make_mesh()
  state = start(mesh)
  compiled = compile_step(step, state, mesh=mesh, inputs=inputs, several=size > 1)
  step_for = make_stepper(compiled, tokens=TOKENS, images={}, mesh=mesh)
  parts = [group] if size > 1 else [[each] for each in group]
  for part in parts:
    arguments, length = place_group(part, size=size, mesh=mesh)
    state, metrics = step_for(state, *arguments, length=length)(state, *arguments)
  return jax.device_get((state, metrics))


@pytest.mark.parametrize('count', [1, 2, 3])
def test_steps_taken_at_once_are_those_taken_one_by_one(count):
  group = batches(0, 1, 0)[:count]
  single = take(group, size=1)
  assert int(single[0].step) == count
  jax.tree.map(np.testing.assert_array_equal, take(group, size=3), single)


def test_a_group_runs_one_program_whatever_its_length():
  mesh = make_mesh()
  state = start(mesh)
  compiled = compile_step(move, state, mesh=mesh, inputs=inputs, several=True)
  step_for = make_stepper(compiled, tokens=TOKENS, images={}, mesh=mesh)
  steps = []
  for n in (3, 1, 2):
    arguments, length = place_group(batches(0, 1, 0)[:n], size=3, mesh=mesh)
    steps.append(step_for(state, *arguments, length=length))
    state, _ = steps[-1](state, *arguments)
  assert int(state.step) == 6
  assert steps == [steps[0]] * 3


def test_the_metrics_are_of_the_step_that_halted():
  step = guard(move, halt=True)
  group = batches(0, 2, 1)  # the second has row 9
  state, metrics = take(group, size=3, step=step)
  assert int(state.step) == ~1
  assert np.isnan(metrics['loss'])
  before, _ = take(group[:1], size=3, step=step)
  np.testing.assert_array_equal(state.trainable['kernel'], before.trainable['kernel'])


def test_a_group_is_filled_up_and_cut_to_its_longest_captions():
  mesh = make_mesh()
  first, second = (batch for batch, _ in batches(0, 1))
  group = [(first, 2), (second, 3)]
  (stacked, count), length = place_group(group, size=4, mesh=mesh)
  assert (int(count), length) == (2, 3)
  assert stacked['rows'].shape == (4, 8)
  assert stacked['rows'].sharding == batch_sharding(mesh, axis=1)
  ((batch,), length) = place_group(group[:1], size=1, mesh=mesh)
  assert (batch['rows'].shape, length) == ((8,), 2)
  assert batch['rows'].sharding == batch_sharding(mesh)


def test_no_batches_are_asked_for_before_the_first_step():
  """The metrics of no step are zeros, in the shapes of a step's."""
  state = start(make_mesh(devices=jax.devices()[:1]))
  stacked = {'rows': np.zeros((2, 8), np.int32)}
  several = take_several(lambda state, resident, batch: move(state, resident | batch))
  tokens = {'tokens': TOKENS}
  after, metrics = jax.jit(several)(state, tokens, stacked, np.int32(0))
  assert int(after.step) == 0
  assert metrics == {'loss': 0, 'gradient_norm': 0}
