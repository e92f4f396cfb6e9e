"""Saving and restoring: which steps are kept, what comes back, what is read."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harma_jax.errors import UserError
from harma_jax.rundir.checkpoint import Checkpoints, abstract_of, step_to_read
from harma_jax.stepping.step import init_state


def make_state(step, *, frozen=True):
  """A state whose every number is told by its step."""
  trainable = {'a': {'kernel': jnp.full((2, 3), step, jnp.float32)}}
  rest = {'b': {'bias': jnp.arange(4.0)}} if frozen else {}
  state = init_state(trainable, rest, optimizer=optax.adam(0.1))
  return state.replace(step=jnp.asarray(step, jnp.int32))


@pytest.fixture
def checkpoints(tmp_path):
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    yield checkpoints


def save_all(checkpoints, recalls):
  """Saves the steps 0, 1, ... with these mean recalls; None: nothing was measured."""
  for step, recall in enumerate(recalls):
    metrics = {} if recall is None else {'mean_recall': recall}
    checkpoints.save(step, make_state(step), metrics=metrics)


def steps_in(tmp_path):
  return sorted(int(path.name) for path in (tmp_path / 'checkpoints').iterdir())


def test_the_best_step_is_kept_although_it_is_older_than_the_latest(
  checkpoints, tmp_path
):
  save_all(checkpoints, [1.0, 9.0, 3.0, 4.0, 2.0])
  assert (checkpoints.best_step(), checkpoints.latest_step()) == (1, 4)
  assert checkpoints.metrics(1) == {'mean_recall': 9.0}
  checkpoints.close()
  assert steps_in(tmp_path) == [1, 4]


@pytest.mark.parametrize('keep', [1, 2, 3])
def test_keep_counts_the_latest(tmp_path, keep):
  with contextlib.closing(Checkpoints(tmp_path, keep=keep)) as checkpoints:
    save_all(checkpoints, [9.0, None, 1.0, None, None])
  assert steps_in(tmp_path) == [0, *range(5 - keep, 5)]


def test_multiples_of_a_number_of_steps_are_kept(tmp_path):
  with contextlib.closing(Checkpoints(tmp_path, keep=1, keep_every=3)) as checkpoints:
    save_all(checkpoints, [1, 9, 1, 1, 1, 1, 1, 1, 1])
  assert steps_in(tmp_path) == [0, 1, 3, 6, 8]


def test_the_best_is_known_to_a_new_start(tmp_path):
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    save_all(checkpoints, [1.0, 9.0, 3.0])
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    assert (checkpoints.best_step(), checkpoints.latest_step()) == (1, 2)
    checkpoints.save(3, make_state(3), metrics={'mean_recall': 5.0})
    assert checkpoints.best_step() == 1
  assert steps_in(tmp_path) == [1, 3]


def test_what_selects_stands_beside_the_mean_recall(checkpoints):
  for step, (mean, selection) in enumerate([(1.0, 3.0), (2.0, 2.0)]):
    metrics = {'mean_recall': mean, 'selection': selection}
    checkpoints.save(step, make_state(step), metrics=metrics)
  assert checkpoints.best_step() == 0


def test_a_step_without_metrics_is_not_the_best(checkpoints):
  save_all(checkpoints, [0.0, None, None])
  assert checkpoints.best_step() == 0
  assert checkpoints.metrics(2) == {}


def test_what_is_due_is_added_by_a_later_start(tmp_path):
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    save_all(checkpoints, [5.0])
    checkpoints.save(1, make_state(1), metrics=None)
    checkpoints.save(1, make_state(1), metrics=None)
    assert (checkpoints.is_due(0), checkpoints.is_due(1)) == (False, True)
    assert checkpoints.metrics(1) == {}
    assert checkpoints.best_step() == 0
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    assert checkpoints.is_due(1)
    checkpoints.save(1, make_state(1), metrics={'mean_recall': 9.0})
    assert not checkpoints.is_due(1)
    checkpoints.save(2, make_state(2), metrics={'mean_recall': 7.0})
    assert (checkpoints.best_step(), checkpoints.latest_step()) == (1, 2)
    assert checkpoints.metrics(1) == {'mean_recall': 9.0}
    restored = checkpoints.restore(1, abstract_of(make_state(0)))
    assert restored.trainable['a']['kernel'][0, 0] == 1
  assert steps_in(tmp_path) == [1, 2]


def test_parameters_are_read_without_knowing_them(checkpoints):
  state = make_state(3)
  half = {'b': {'bias': jnp.arange(4.0, dtype=jnp.bfloat16)}}
  checkpoints.save(3, state.replace(frozen=half), metrics={})
  checkpoints.wait()
  read = checkpoints.read_params(3)
  assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(read))
  assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(read))
  np.testing.assert_array_equal(read['a']['kernel'], np.full((2, 3), 3))
  np.testing.assert_array_equal(read['b']['bias'], np.arange(4))


def test_where_nothing_was_measured_the_last_is_the_best(checkpoints):
  save_all(checkpoints, [None, None, None])
  assert checkpoints.best_step() == 2


def test_of_equal_steps_one_is_the_best_for_good(tmp_path):
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    save_all(checkpoints, [5.0, 5.0])
    best = checkpoints.best_step()
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    assert checkpoints.best_step() == best


def test_a_state_comes_back_as_it_was(checkpoints):
  state = make_state(7)
  gradients = {'a': {'kernel': jnp.ones((2, 3))}}
  _, optimizer_state = optax.adam(0.1).update(gradients, state.optimizer_state)
  state = state.replace(optimizer_state=optimizer_state)
  checkpoints.save(7, state, metrics={})
  restored = checkpoints.restore(7, abstract_of(state))
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  assert jax.tree.all(jax.tree.map(np.array_equal, restored, state))
  dtypes = [leaf.dtype for leaf in jax.tree.leaves(state)]
  assert [leaf.dtype for leaf in jax.tree.leaves(restored)] == dtypes


def test_a_state_without_frozen_leaves_comes_back(checkpoints, tmp_path):
  state = make_state(1, frozen=False)
  checkpoints.save(1, state, metrics={})
  assert checkpoints.restore(1, abstract_of(state)).frozen == {}
  assert not (tmp_path / 'frozen').exists()


def test_frozen_leaves_are_written_once(checkpoints, tmp_path):
  state = make_state(0)
  checkpoints.save(0, state, metrics={})
  written = (tmp_path / 'frozen/_METADATA').stat().st_mtime_ns
  checkpoints.save(1, state, metrics={})
  assert (tmp_path / 'frozen/_METADATA').stat().st_mtime_ns == written
  restored = checkpoints.restore(1, abstract_of(state))
  assert np.array_equal(restored.frozen['b']['bias'], np.arange(4))


def test_parameters_alone_leave_the_optimizer_as_it_is(checkpoints):
  checkpoints.save(3, make_state(3), metrics={})
  abstract = abstract_of(make_state(0))
  restored = checkpoints.restore_params(3, abstract)
  assert np.array_equal(restored.trainable['a']['kernel'], np.full((2, 3), 3))
  assert restored.optimizer_state is abstract.optimizer_state


def test_a_folder_without_steps_is_the_users_mistake(checkpoints, tmp_path):
  with pytest.raises(UserError, match=f'saved steps; found none in {tmp_path}. Train'):
    step_to_read(checkpoints, workdir=tmp_path)
  checkpoints.save(5, make_state(5), metrics={})
  assert step_to_read(checkpoints, workdir=tmp_path) == 5


def test_a_recall_that_is_not_a_number_is_not_saved(checkpoints, tmp_path):
  save_all(checkpoints, [1.0, 9.0])
  with pytest.raises(UserError, match='a number at step 2; found nan'):
    checkpoints.save(2, make_state(2), metrics={'mean_recall': float('nan')})
  checkpoints.close()
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    assert (checkpoints.best_step(), checkpoints.latest_step()) == (1, 1)


def test_a_step_that_was_saved_with_such_a_recall_is_not_the_best(tmp_path):
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    save_all(checkpoints, [1.0, 2.0])
  path = tmp_path / 'checkpoints/1/metrics/metrics'
  path.write_text(path.read_text().replace('2.0', 'NaN'))
  with contextlib.closing(Checkpoints(tmp_path, keep=2)) as checkpoints:
    save_all(checkpoints, [])
    checkpoints.save(2, make_state(2), metrics={'mean_recall': 0.5})
    assert checkpoints.best_step() == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / 'checkpoints').write_text('a file')
  message = f'can be written; found {tmp_path}: '
  with (
    pytest.raises(UserError, match=message),
    contextlib.closing(Checkpoints(tmp_path)) as found,
  ):
    found.save(0, make_state(0), metrics={})
