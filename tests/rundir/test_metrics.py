"""What a run reports: rows of metrics.jsonl, plain lines, the bar."""

import functools
import io
import json
import logging

import pytest
from rich.console import Console

from harma_jax.evaluation.recall import RECALLS
from harma_jax.rundir import metrics
from harma_jax.rundir.metrics import RunLog


@pytest.fixture
def make_log(tmp_path):
  """`make_log(last_saved=4)`: the log of a run of 20 steps of 8 pairs."""

  def make(**changes):
    settings = {
      'last_saved': None,
      'total_steps': 20,
      'steps_per_epoch': 10,
      'batch_size': 8,
      'log_every': 5,
      'evaluate_every': 10,
    }
    return RunLog(tmp_path / 'metrics.jsonl', **settings | changes)

  return make


@pytest.fixture
def rows(tmp_path):
  """`rows()`: what metrics.jsonl holds."""
  path = tmp_path / 'metrics.jsonl'
  return lambda: [json.loads(line) for line in path.read_text().splitlines()]


def recall(value):
  return dict.fromkeys(RECALLS, value)


def test_a_row_every_so_many_steps_and_at_the_last(make_log, rows):
  with make_log(total_steps=12) as log:
    for step in range(1, 13):
      log.train(step, {'loss': step / 2, 'temperature': 0.07})
  assert [row['step'] for row in rows()] == [5, 10, 12]
  assert [row['epoch'] for row in rows()] == [0.5, 1.0, 1.2]
  assert [row['loss'] for row in rows()] == [2.5, 5.0, 6.0]
  assert {row['kind'] for row in rows()} == {'train'}
  assert all(row['temperature'] == 0.07 for row in rows())


def test_metrics_are_read_only_when_a_row_is_due(make_log):
  class Unready:
    def __array__(self, *_, **__):
      raise AssertionError('waited for the device')

  with make_log() as log:
    for step in range(1, 5):
      log.train(step, {'loss': Unready()})
    with pytest.raises(AssertionError, match='waited'):
      log.train(5, {'loss': Unready()})


def test_speed_counts_training_alone(make_log, rows, monkeypatch):
  now = [0.0]
  monkeypatch.setattr(metrics.time, 'monotonic', lambda: now[0])
  with make_log() as log:
    with log.busy('compiling'):
      now[0] = 10.0
    now[0] = 12.0
    log.train(5, {'loss': 1.0})
    with log.busy('evaluating'):
      now[0] = 100.0
    now[0] = 104.0
    log.train(10, {'loss': 1.0})
  assert [row['pairs_per_second'] for row in rows()] == [5 * 8 / 2, 5 * 8 / 4]


def test_evaluations_of_before_are_remembered(make_log, rows):
  with make_log() as log:
    log.evaluation(0, split='val', recall=recall(1.5))
  with make_log(last_saved=0) as log:
    log.evaluation(10, split='val', recall=recall(2.5))
  with make_log(last_saved=10) as log:
    assert log.evaluations() == rows()
  assert [row['mean_recall'] for row in rows()] == [1.5, 2.5]
  assert [(row['kind'], row['split']) for row in rows()] == [('evaluation', 'val')] * 2


def test_rows_after_the_last_checkpoint_are_forgotten(make_log, rows):
  with make_log(log_every=1) as log:
    for step in range(1, 8):
      log.train(step, {'loss': 1.0})
  make_log(last_saved=4)
  assert [row['step'] for row in rows()] == [1, 2, 3, 4]
  make_log(last_saved=None)
  assert rows() == []


def test_half_a_row_is_dropped(make_log, rows, tmp_path):
  with make_log() as log:
    log.evaluation(0, split='val', recall=recall(1.0))
    whole = rows()
    with (tmp_path / 'metrics.jsonl').open('a') as file:
      file.write('{"kind": "evalua')
    assert log.evaluations() == whole
  make_log(last_saved=0)
  assert rows() == whole


def test_plain_lines_where_there_is_no_terminal(make_log, caplog, capsys):
  with caplog.at_level(logging.INFO, logger='absl'), make_log() as log:
    for step in range(1, 11):
      log.train(step, {'loss': 0.25, 'triplet': 3.0})
    log.evaluation(10, split='val', recall=recall(1.25))
  lines = [record.message for record in caplog.records]
  assert len(lines) == 4
  first = lines.pop(0)
  assert first.startswith('about 0.0 s to go: 18 steps of ')
  assert ', 2 evaluations not timed yet; ' in first
  assert lines[0].startswith('step 5 of 20, epoch 0.50, loss 0.25, triplet 3, ')
  assert 'pairs/s' in lines[0]
  assert lines[0].endswith('s left')
  assert lines[2].startswith('step 10, val: mean recall 1.25 (i2t_r1 1.2')
  assert '━' not in capsys.readouterr().err


def test_a_bar_on_a_terminal(make_log, caplog, monkeypatch):
  screen = io.StringIO()
  terminal = functools.partial(Console, file=screen, force_terminal=True, width=100)
  monkeypatch.setattr(metrics, 'Console', lambda **_: terminal())
  with caplog.at_level(logging.INFO, logger='absl'), make_log() as log:
    for step in range(1, 11):
      log.train(step, {'loss': 0.25})
  shown = screen.getvalue()
  assert 'step 10 of 20' in shown
  assert '━' in shown
  assert 'loss 0.250' in shown
  assert 'pairs/s' in shown
  assert '0:00' in shown  # the time left
  (record,) = caplog.records
  assert record.message.startswith('about ')


def test_what_takes_the_place_of_steps_is_said(make_log, caplog, monkeypatch):
  now = [0.0]
  monkeypatch.setattr(metrics.time, 'monotonic', lambda: now[0])
  with caplog.at_level(logging.INFO, logger='absl'), make_log() as log:
    with log.busy(metrics.EVALUATING):
      now[0] = 7.0
    wait = log.during('compiling', lambda act: act())
    assert wait(lambda: 'compiled') == 'compiled'
    for step in (1, 2):
      now[0] += 3.0
      log.train(step, {'loss': 0.25})
  lines = [record.message for record in caplog.records]
  assert lines[:2] == ['evaluating', 'compiling']
  # 18 steps of 3 s, and evaluations after 10 and 20 steps.
  assert lines[2].startswith(
    'about 1 min 08 s to go: 18 steps of 3 s, 2 evaluations of'
  )


@pytest.mark.parametrize(
  ('seconds', 'words'),
  [(9.34, '9.3 s'), (245, '4 min 05 s'), (4800, '1 h 20 min')],
)
def test_durations_have_two_units_at_most(seconds, words):
  assert metrics.duration(seconds) == words


def test_rows_that_are_gone_before_the_last_checkpoint_are_said(make_log, caplog):
  with make_log() as log:
    log.evaluation(10, split='val', recall=recall(1.0))
  with caplog.at_level(logging.WARNING, logger='absl'):
    make_log(last_saved=14)
    assert 'is lost' not in caplog.text
    make_log(last_saved=15)
  assert 'expected rows up to step 15, the last that is saved; found them up to 10' in (
    caplog.text
  )
