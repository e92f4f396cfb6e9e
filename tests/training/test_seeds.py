"""Several seeds in one command: folders, what is done again, what is averaged."""

import contextlib
import io
import json
import pathlib

import jax
import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.evaluation.recall import RECALLS
from harma_jax.reporting.spread import summarize
from harma_jax.results.comparison import compare, runs_of
from harma_jax.rundir.workdir import read_config
from harma_jax.training import seeds as module
from harma_jax.training.loop import train
from harma_jax.training.seeds import (
  parse_seeds,
  runs_of_seeds,
  train_seeds,
)


@pytest.fixture(scope='module')
def config(small_config):
  """A short run with a short pretraining."""
  config = small_config({'train.epochs': 1.0, 'seed': 7})
  with config.unlocked():
    config.pretrain = {'optimizer': {'train': 'full', 'learning_rate': 1e-3}}
  return config


@pytest.fixture(scope='module')
def finished(config, tmp_path_factory):
  """The folder of two seeds, with `stdout.txt` beside it."""
  workdir = tmp_path_factory.mktemp('several') / 'runs'
  with contextlib.redirect_stdout(io.StringIO()) as stdout:
    train_seeds(config, workdir=workdir, seeds=[0, 3])
  (workdir.parent / 'stdout.txt').write_text(stdout.getvalue())
  return workdir


def read_json(path):
  return json.loads(path.read_text())


def test_each_seed_starts_from_the_one_pretraining(finished):
  assert {path.name for path in finished.iterdir()} == {
    *('pretrain', 'seed_0', 'seed_3', 'seeds.json')
  }
  assert read_config(finished / 'pretrain').seed == 7
  runs = [read_json(finished / name / 'results.json') for name in ('seed_0', 'seed_3')]
  assert [run['seed'] for run in runs] == [0, 3]
  pretrain = read_json(finished / 'pretrain/results.json')
  best = pretrain['best_step']
  selected = f'step {best}, selected' if best else 'step 0'
  for run in runs:
    assert not (finished / f'seed_{run["seed"]}/pretrain').exists()
    assert run['splits']['val']['step 0'] == pretrain['splits']['val'][selected]
  rows = [
    (finished / name / 'metrics.jsonl').read_text() for name in ('seed_0', 'seed_3')
  ]
  assert rows[0] != rows[1]


def test_means_and_deviations_are_written_and_printed(finished):
  summary = read_json(finished / 'seeds.json')
  assert summary['seeds'] == [0, 3]
  runs = [read_json(finished / name / 'results.json') for name in ('seed_0', 'seed_3')]
  for split in ('val', 'test'):
    found = summary['splits'][split]
    assert set(found) >= {'chance', 'ceiling', 'step 0', 'selected'}
    chance = runs[0]['splits'][split]['chance']
    assert found['chance']['mean'] == pytest.approx(chance)
    selected = [list(run['splits'][split].values()) for run in runs]
    steps = [run['best_step'] for run in runs]
    rows = [
      next(
        row
        for name, row in run['splits'][split].items()
        if name.split(',')[0] == f'step {step}'
      )
      for run, step in zip(runs, steps, strict=True)
    ]
    assert len(selected) == 2
    for name in RECALLS:
      values = [row[name] for row in rows]
      assert found['selected']['mean'][name] == pytest.approx(sum(values) / 2)
      deviation = abs(values[0] - values[1]) / 2**0.5
      assert found['selected']['sd'][name] == pytest.approx(deviation)
  printed = (finished.parent / 'stdout.txt').read_text()
  for split in ('val', 'test'):
    assert f'{split}: recall in % over the seeds 0, 3' in printed
  assert 'selected, mean' in printed


def test_finished_seeds_are_not_started_again(config, finished, monkeypatch):
  before = (finished / 'seeds.json').read_bytes()
  started = []

  def note(config, *, workdir, trackers):
    started.append((workdir.name, config.seed))
    raise KeyboardInterrupt

  monkeypatch.setattr(module, 'train', note)
  train_seeds(config, workdir=finished, seeds=[3, 0])
  assert read_json(finished / 'seeds.json')['splits'] == json.loads(before)['splits']
  assert not started
  with pytest.raises(KeyboardInterrupt):
    train_seeds(config, workdir=finished, seeds=[0, 1, 3])
  assert started == [('seed_1', 1)]
  (finished / 'seeds.json').write_bytes(before)


def test_another_config_is_refused_before_anything_trains(
  config, finished, monkeypatch
):
  monkeypatch.setattr(module, 'train', lambda *_, **__: pytest.fail('began'))
  other = config.copy_and_resolve_references()
  other.optimizer.learning_rate = 0.5
  with pytest.raises(UserError, match=r'learning_rate was 0\.001?.*now 0\.5|now 0\.5'):
    train_seeds(other, workdir=finished, seeds=[5, 0])


def test_the_folder_of_a_run_is_no_folder_for_several(small_config, finished_run):
  with pytest.raises(UserError, match='folder for several runs'):
    train_seeds(small_config(), workdir=finished_run, seeds=[0, 1])


def test_without_pretraining_all_starts_anew(small_config):
  folder = pathlib.Path('runs')
  runs = runs_of_seeds(small_config(), workdir=folder, seeds=[1, 2])
  assert {path.name: run.seed for path, run in runs.items()} == {
    'seed_1': 1,
    'seed_2': 2,
  }
  assert all(run.init == '' for run in runs.values())


def test_with_init_there_is_no_pretraining(config, finished_run, tmp_path):
  given = config.copy_and_resolve_references()
  given.init = str(finished_run)
  runs = runs_of_seeds(given.lock(), workdir=tmp_path, seeds=[1, 2])
  assert list(runs) == [tmp_path / 'seed_1', tmp_path / 'seed_2']
  assert {run.init for run in runs.values()} == {str(finished_run)}
  with contextlib.redirect_stdout(io.StringIO()):
    train_seeds(given, workdir=tmp_path, seeds=[1, 2])
  assert {path.name for path in tmp_path.iterdir()} == {
    *('seed_1', 'seed_2', 'seeds.json')
  }
  start = read_json(finished_run / 'results.json')
  first = read_json(tmp_path / 'seed_1/results.json')['splits']['val']['step 0']
  selected = list(start['splits']['val'].values())[-1]
  assert first['mean_recall'] == pytest.approx(selected['mean_recall'])
  # The same command again finds them finished.
  train_seeds(given, workdir=tmp_path, seeds=[1, 2])


def test_a_folder_of_seeds_is_no_folder_for_one(config, finished):
  with pytest.raises(UserError, match=r'of the seeds 0, 3[.] Give --seeds=0,3 to go'):
    train(config, workdir=finished)
  assert not (finished / 'config.json').exists()


def test_seeds_that_get_more_epochs_have_not_finished(small_config, tmp_path):
  constant = {'optimizer.schedule': 'constant', 'optimizer.warmup': 0.0}
  config = small_config(constant | {'train.epochs': 1.0})
  longer = small_config(constant | {'train.epochs': 2.0})
  with contextlib.redirect_stdout(io.StringIO()):
    train_seeds(config, workdir=tmp_path, seeds=[0])
    train_seeds(longer, workdir=tmp_path, seeds=[0])
  assert read_json(tmp_path / 'seed_0/results.json')['steps'] == 6


def test_another_seed_compiles_no_other_step(small_config, tmp_path):
  cache = pathlib.Path(jax.config.jax_compilation_cache_dir)
  train_seeds(small_config({'train.epochs': 1.0}), workdir=tmp_path, seeds=[0])
  before = {path.name for path in cache.iterdir()}
  train_seeds(small_config({'train.epochs': 1.0}), workdir=tmp_path, seeds=[11])
  new = {path.name for path in cache.iterdir()} - before
  assert not [name for name in new if not name.endswith('-atime')]
  assert len(before) > 1


@pytest.mark.parametrize('words', [[], ['a'], ['1', '1'], ['-1'], ['0', '1.5'], ['']])
def test_seeds_are_different_whole_numbers(words):
  with pytest.raises(UserError, match='--seeds: expected different whole numbers'):
    parse_seeds(words)
  assert parse_seeds(['0', '12']) == [0, 12]


def test_folders_of_seeds_are_compared_seed_by_seed(finished, finished_run, tmp_path):
  single = [str(finished_run)]
  assert runs_of(single) == single
  folders = [str(finished / name) for name in ('seed_0', 'seed_3')]
  assert runs_of([str(finished)]) == folders
  results = compare(runs_of([str(finished)]), folders, splits=['val'])
  assert results['seeds'] == [[0, 3], [0, 3]]
  row = results['splits']['val']['standard']['mean_recall']
  runs = [read_json(pathlib.Path(run) / 'results.json') for run in folders]
  summary = summarize(runs)['val']['selected']['mean']
  assert row['first'] == row['second'] == pytest.approx(summary['mean_recall'])
  assert np.isclose(row['difference'], 0)
