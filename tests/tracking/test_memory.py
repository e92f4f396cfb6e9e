"""What a work folder remembers of its trackers from one start to the next."""

import pytest

from harma_jax.errors import UserError
from harma_jax.tracking.memory import TRACKERS_FILE, Memory


def rows(*steps):
  return [{'kind': 'train', 'step': step} for step in steps]


def keys(*steps):
  return {('train', '', step) for step in steps}


def test_ids_are_kept(tmp_path):
  memory = Memory(tmp_path, last_saved=None, dropped=[])
  assert memory.id_of('wandb') == ''
  memory.remember('wandb', 'a1')
  memory.remember('mlflow', 'b2')
  later = Memory(tmp_path, last_saved=4, dropped=[])
  assert [later.id_of(name) for name in ('wandb', 'mlflow')] == ['a1', 'b2']


def test_rows_that_come_again_are_known_over_several_stops(tmp_path):
  Memory(tmp_path, last_saved=None, dropped=[]).remember('wandb', 'a1')
  second = Memory(tmp_path, last_saved=10, dropped=rows(11, 12, 13))
  assert second.sent_to('wandb') == keys(11, 12, 13)
  assert second.sent_to('mlflow') == set()
  second.remember('wandb', 'a1')
  # Killed again before it came to where the first start was.
  third = Memory(tmp_path, last_saved=10, dropped=rows(11))
  assert third.sent_to('wandb') == keys(11, 12, 13)
  third.remember('wandb', 'a1')
  assert Memory(tmp_path, last_saved=12, dropped=[]).sent_to('wandb') == keys(13)


def test_a_run_of_which_nothing_was_saved_begins_anew(tmp_path):
  Memory(tmp_path, last_saved=None, dropped=[]).remember('wandb', 'a1')
  assert Memory(tmp_path, last_saved=None, dropped=rows(1)).id_of('wandb') == ''


def test_a_damaged_file_is_one_message(tmp_path):
  (tmp_path / TRACKERS_FILE).write_text('{')
  with pytest.raises(UserError, match=r'trackers\.json'):
    Memory(tmp_path, last_saved=3, dropped=[])
