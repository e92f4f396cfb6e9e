"""A run as trackers hear of it: stopped after six steps, four of which are saved."""

import contextlib
import time
import types

import pytest

from harma_jax.evaluation.recall import RECALLS
from harma_jax.rundir.folder import RunFolder
from harma_jax.rundir.metrics import RunLog
from harma_jax.tracking.session import tracked

RESULTS = {
  'best_step': 6,
  'steps': 8,
  'splits': {
    'test': {
      'chance': dict.fromkeys(RECALLS, 1.0),
      'step 6, selected': dict.fromkeys(RECALLS, 7.0),
    }
  },
}


class Kill(BaseException):
  """Ends a start without a word."""


@pytest.fixture
def start(small_config, tmp_path):
  """`with start(names, last_saved=4) as (log, session)`: a start in one folder."""

  @contextlib.contextmanager
  def make(names, *, last_saved=None):
    path = tmp_path / 'runs/seed_3'
    path.mkdir(parents=True, exist_ok=True)
    log = RunLog(
      path / 'metrics.jsonl',
      last_saved=last_saved,
      total_steps=8,
      steps_per_epoch=4,
      batch_size=8,
      log_every=1,
      evaluate_every=2,
    )
    checkpoints = types.SimpleNamespace(latest_step=lambda: last_saved)
    folder = RunFolder(path=path, checkpoints=checkpoints, log=log)
    with tracked(names, folder, config=small_config()) as session, log:
      yield log, session

  return make


@pytest.fixture(scope='session')
def take():
  """`take(log, [1, 2])`: notes steps, whose loss is 10 less their number."""

  def make(log, steps):
    for step in steps:
      log.train(step, {'loss': 10.0 - step})

  return make


@pytest.fixture
def stopped_and_resumed(start, take):
  """`stopped_and_resumed(names)`: eight steps in two starts; returns the folder."""

  def make(names, *, pause=0.0):
    with contextlib.suppress(Kill), start(names) as (log, _):
      take(log, range(1, 7))
      raise Kill
    time.sleep(pause)
    with start(names, last_saved=4) as (log, session):
      take(log, range(5, 9))
      log.evaluation(6, split='test', recall=dict.fromkeys(RECALLS, 7.0))
      session.conclude(RESULTS)

  return make
