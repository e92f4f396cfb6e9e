"""Folders in `checkpoints/` that are no saved step, and steps copied in part."""

import contextlib
import logging
import shutil

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harma_jax.errors import UserError
from harma_jax.rundir.checkpoint import Checkpoints, abstract_of
from harma_jax.stepping.step import init_state


def make_state(step):
  trainable = {'a': {'kernel': jnp.full((2, 3), step, jnp.float32)}}
  state = init_state(trainable, {'b': {'bias': jnp.ones(4)}}, optimizer=optax.adam(0.1))
  return state.replace(step=jnp.asarray(step, jnp.int32))


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """A folder with the steps 3 and 6, the latter the better one."""
  workdir = tmp_path_factory.mktemp('saved')
  with contextlib.closing(Checkpoints(workdir, keep=2)) as checkpoints:
    for step in (3, 6):
      checkpoints.save(step, make_state(step), metrics={'mean_recall': step / 10})
  return workdir


@pytest.fixture
def workdir(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / 'run')


def restore(workdir):
  """The latest step and its first weight."""
  with contextlib.closing(Checkpoints(workdir, keep=2)) as checkpoints:
    step = checkpoints.latest_step()
    state = checkpoints.restore(step, abstract_of(make_state(0)))
  return step, float(np.asarray(state.trainable['a']['kernel'])[0, 0])


def test_an_empty_folder_is_removed_and_said(workdir, caplog):
  (workdir / 'checkpoints/9').mkdir()
  with caplog.at_level(logging.WARNING, logger='absl'):
    assert restore(workdir) == (6, 6.0)
  assert 'checkpoints/9 was empty, as a copy that was stopped; it is removed' in (
    caplog.text
  )
  assert not (workdir / 'checkpoints/9').exists()


@pytest.mark.parametrize('name', ['notes', 'README', '.DS_Store'])
def test_what_is_not_called_like_a_step_is_left_alone(workdir, name):
  (workdir / 'checkpoints' / name).mkdir()
  (workdir / 'checkpoints' / name / 'a.txt').write_text('precious')
  assert restore(workdir) == (6, 6.0)
  assert (workdir / 'checkpoints' / name / 'a.txt').read_text() == 'precious'


def test_a_foreign_folder_that_is_called_like_a_step_is_refused(workdir):
  (workdir / 'checkpoints/2024').mkdir()
  (workdir / 'checkpoints/2024/photo.jpg').write_text('precious')
  with pytest.raises(UserError, match=r'checkpoints/2024; found: no trainable/_MET'):
    restore(workdir)
  assert (workdir / 'checkpoints/2024/photo.jpg').read_text() == 'precious'


@pytest.mark.parametrize('part', ['trainable', 'rest', 'metrics'])
def test_a_step_without_a_part_is_refused_and_the_one_before_goes_on(workdir, part):
  shutil.rmtree(workdir / 'checkpoints/6' / part)
  with pytest.raises(UserError) as error:
    restore(workdir)
  message = str(error.value)
  assert f'{workdir}/checkpoints/6; found: no {part}' in message
  assert f'mv {workdir}/checkpoints/6 ELSEWHERE' in message
  shutil.move(workdir / 'checkpoints/6', workdir / 'elsewhere')  # as it says
  assert restore(workdir) == (3, 3.0)


def cut(folder):
  """Of each file with numbers, only the beginning is there."""
  files = [path for path in folder.rglob('*') if path.parent.name == 'd']
  for path in files:
    path.write_bytes(path.read_bytes()[:20])
  assert files


def remove_data(folder):
  for path in folder.rglob('d'):
    shutil.rmtree(path)


@pytest.mark.parametrize('spoil', [cut, remove_data])
@pytest.mark.parametrize('place', ['checkpoints/6/trainable', 'frozen'])
def test_numbers_that_are_cut_or_gone_are_one_message(workdir, place, spoil):
  spoil(workdir / place)
  with pytest.raises(UserError, match=f'{workdir}/.*; found: files are missing or cut'):
    restore(workdir)


def test_frozen_weights_that_are_gone_are_one_message(workdir):
  shutil.rmtree(workdir / 'frozen')
  with pytest.raises(UserError, match=f'whole checkpoint in {workdir}/frozen; found'):
    restore(workdir)


OTHERS = {
  'shape': {'a': {'kernel': jnp.zeros((3, 3))}},
  'less': {},
  'more': {'a': {'kernel': jnp.zeros((2, 3)), 'lora': jnp.zeros(2)}},
}


@pytest.mark.parametrize('trainable', OTHERS.values(), ids=OTHERS)
def test_steps_of_another_model_are_one_message(workdir, trainable):
  state = init_state(trainable, {'b': {'bias': jnp.ones(4)}}, optimizer=optax.adam(0.1))
  with (
    contextlib.closing(Checkpoints(workdir, keep=2)) as checkpoints,
    pytest.raises(UserError, match=r'found that of another model in .*6\. Bring '),
  ):
    checkpoints.restore(6, abstract_of(state))
