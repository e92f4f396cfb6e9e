"""Which trackers there are: names, what is not installed, what importing costs."""

import subprocess
import sys

import pytest

from harma_jax.errors import UserError
from harma_jax.tracking import kinds
from harma_jax.tracking.kinds import KINDS, parse_trackers


def test_names_are_taken_once_and_in_order(monkeypatch):
  monkeypatch.setattr(kinds, '_is_installed', lambda _: True)
  assert parse_trackers([]) == ()
  assert parse_trackers(['wandb', 'tensorboard', 'wandb']) == ('wandb', 'tensorboard')
  assert parse_trackers(list(KINDS)) == tuple(KINDS)


def test_other_names_are_a_mistake():
  with pytest.raises(UserError, match=r"found 'wandbb'\. Did you mean wandb\?"):
    parse_trackers(['wandbb'])


def test_what_is_not_installed_is_a_mistake_that_says_how(monkeypatch):
  monkeypatch.setattr(kinds, '_is_installed', lambda package: package == 'wandb')
  with pytest.raises(UserError, match='found no tensorboardX, mlflow') as error:
    parse_trackers(['tensorboard', 'wandb', 'mlflow'])
  assert "pip install 'harma_jax[tensorboard,mlflow]'" in str(error.value)


def test_no_tracker_is_imported_unless_it_is_asked_for():
  packages = {kind.package for kind in KINDS.values()}
  program = (
    'import sys, harma_jax.main, harma_jax.tracking.session\n'
    f'assert not {{*sys.modules}} & {packages}'
  )
  subprocess.run([sys.executable, '-c', program], check=True, timeout=60)
