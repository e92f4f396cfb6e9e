"""What trackers hear of a run, over several starts."""

import json

import jax
import pytest

from harma_jax.rundir.metrics import RunLog
from harma_jax.tracking import session as module
from harma_jax.training.loop import train


class Fake:
  """A tracker that notes what it is told; all runs of a test share the notes."""

  def __init__(self, run, *, replaces, opened):
    self.id, self.place, self.replaces = run.id or 'new', 'here', replaces
    self.run, self.rows, self.results, self.closed = run, [], [], False
    opened.append(self)

  def log(self, values, *, step):
    self.rows.append((step, values))

  def conclude(self, results, summary):
    self.results.append((results, summary))

  def close(self):
    self.closed = True

  def steps(self, name='train/loss'):
    return [step for step, values in self.rows if name in values]


@pytest.fixture(params=[False, True], ids=['appends', 'replaces'])
def opened(request, monkeypatch):
  """All trackers that were opened; they replace rows, or do not."""
  found = []

  class FakeModule:
    @staticmethod
    def open_tracker(run):
      return Fake(run, replaces=request.param, opened=found)

  monkeypatch.setattr(module, 'module_of', lambda _: FakeModule)
  return found


def test_a_resumed_run_goes_on_and_doubles_nothing(opened, stopped_and_resumed):
  stopped_and_resumed(['wandb'])
  first, second = opened
  assert first.run.id == ''
  assert first.run.last_saved is None
  assert (second.run.id, second.run.last_saved) == ('new', 4)
  assert (second.run.name, second.run.group) == ('runs-seed_3', 'runs')
  assert first.steps() == [1, 2, 3, 4, 5, 6]
  assert second.steps() == ([5, 6, 7, 8] if second.replaces else [7, 8])
  assert second.steps('test/mean_recall') == [6]
  [(results, summary)] = second.results
  assert results['best_step'] == 6
  assert summary['results/test/selected/mean_recall'] == 7.0
  assert second.closed


def test_one_that_comes_later_hears_all_of_it(opened, start, take):
  with start([]) as (log, _):
    take(log, range(1, 5))
  with start(['mlflow'], last_saved=4) as (log, _):
    take(log, range(5, 9))
  [late] = opened
  assert late.steps() == [1, 2, 3, 4, 5, 6, 7, 8]
  assert late.run.last_saved is None


def test_it_is_told_no_path_of_the_machine(opened, start, small_data):
  with start(['wandb']):
    pass
  assert str(small_data.parent) not in json.dumps(dict(opened[0].run.fields))
  assert opened[0].run.fields['train.batch_size'] == 8


def test_only_the_first_process_tells_anything(opened, start, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setattr(jax, 'process_index', lambda: 1)
    with start(['wandb']) as (log, _):
      assert log.listeners == []
  assert opened == []


def test_a_run_tells_its_rows_and_its_tables(opened, small_config, tmp_path):
  config = small_config({'train.epochs': 1.0})
  train(config, workdir=tmp_path / 'run', trackers=['wandb'])
  [tracker] = opened
  path = tmp_path / 'run/metrics.jsonl'
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  assert [step for step, _ in tracker.rows] == [row['step'] for row in rows]
  losses = [
    values['train/loss'] for _, values in tracker.rows if 'train/loss' in values
  ]
  assert losses == [row['loss'] for row in rows if row['kind'] == 'train']
  written = json.loads((tmp_path / 'run/results.json').read_text())
  assert [results for results, _ in tracker.results] == [written]


def test_a_tracker_that_fails_does_not_end_a_run(
  small_config, tmp_path, monkeypatch, caplog
):
  class Broken:
    @staticmethod
    def open_tracker(run):
      raise ConnectionError('no route to host')

  monkeypatch.setattr(module, 'module_of', lambda _: Broken)
  config = small_config({'train.epochs': 1.0})
  train(config, workdir=tmp_path / 'run', trackers=['wandb', 'mlflow'])
  assert (tmp_path / 'run/results.json').is_file()
  warned = [r.getMessage() for r in caplog.records if 'no route' in r.getMessage()]
  assert len(warned) == 2


def test_a_log_tells_all_its_listeners(start, take):
  heard = [], []
  with start([]) as (log, _):
    assert isinstance(log, RunLog)
    log.listeners += [heard[0].append, heard[1].append]
    take(log, [1, 2])
  assert [row['step'] for row in heard[0]] == [1, 2]
  assert heard[0] == heard[1] == log.rows()
