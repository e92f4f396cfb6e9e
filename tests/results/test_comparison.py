"""The comparison of two methods, from work folders to differences and tests."""

import json
import shutil

import numpy as np
import pytest
from scipy import stats

from harma_jax.errors import UserError
from harma_jax.evaluation.seed_test import seed_test
from harma_jax.results.comparison import compare
from harma_jax.rundir.workdir import read_config
from harma_jax.training.loop import train


@pytest.fixture(scope='module')
def other_run(small_config, tmp_path_factory):
  """The folder of a run as `finished_run`, with another seed and rate."""
  workdir = tmp_path_factory.mktemp('other') / 'run'
  changes = {'seed': 1, 'optimizer.learning_rate': 0.2, 'train.epochs': 1.0}
  train(small_config(changes), workdir=workdir)
  return workdir


@pytest.fixture(scope='module')
def results(finished_run, other_run):
  return compare([str(finished_run)], [str(other_run)])


def changed_copy(run, folder, **changes):
  """A copy of a run's folder whose config says something else."""
  shutil.copytree(run, folder)
  config = read_config(run)
  config.update_from_flattened_dict(
    {k.replace('__', '.'): v for k, v in changes.items()}
  )
  (folder / 'config.json').write_text(config.to_json())
  return str(folder)


def selected(workdir, split):
  """The recalls that the run itself has noted for its selected weights."""
  results = json.loads((workdir / 'results.json').read_text())
  step = results['best_step']
  return results['splits'][split][f'step {step}, selected' if step else 'step 0']


def test_recalls_are_those_that_the_runs_have_noted(results, finished_run, other_run):
  assert list(results['splits']) == ['val', 'test']
  assert results['seeds'] == [[0], [1]]
  for split, kinds in results['splits'].items():
    for name, row in kinds['standard'].items():
      assert row['second'] == pytest.approx(selected(other_run, split)[name])
      assert row['first'] == pytest.approx(selected(finished_run, split)[name])
      assert row['low'] <= row['difference'] <= row['high']
      assert 'over_seeds' not in row
      assert kinds['duplicate_aware'][name]['first'] >= row['first']


def test_several_seeds_are_paired_and_tested(finished_run, other_run, tmp_path):
  one = changed_copy(finished_run, tmp_path / 'one', seed=1)
  zero = changed_copy(other_run, tmp_path / 'zero', seed=0)
  # In another order a side: pairs are found by their seeds.
  first, second = [str(finished_run), one], [str(other_run), zero]
  results = compare(first, second, splits=['test'])
  assert results['runs'] == [first, [zero, str(other_run)]]
  assert results['seeds'] == [[0, 1], [0, 1]]
  for row in results['splits']['test']['standard'].values():
    # Both seeds of a side are the same weights: no spread.
    assert row['over_seeds'] == {'low': None, 'high': None, 'p_value': None}


def test_the_test_over_seeds_is_students_of_the_differences():
  rng = np.random.default_rng(0)
  first = rng.normal(30, 1, 5)
  second = first + rng.normal(1, 0.5, 5)
  result = seed_test(first, second)
  differences = second - first
  half = stats.t.ppf(0.975, 4) * differences.std(ddof=1) / 5**0.5
  assert result['low'] == pytest.approx(differences.mean() - half)
  assert result['high'] == pytest.approx(differences.mean() + half)
  assert result['p_value'] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
  assert seed_test([1, 2], [2, 3])['p_value'] is None


def test_seeds_must_pair(finished_run, other_run):
  first, second = str(finished_run), str(other_run)
  with pytest.raises(UserError, match=r'seeds \[0, 1\] and \[0\]'):
    compare([first, second], [first])
  with pytest.raises(UserError, match=r'seeds \[0, 0\]'):
    compare([first, first], [first, first])


def test_a_split_must_be_common(finished_run, tmp_path):
  other = changed_copy(
    finished_run, tmp_path / 'run', data__val_split='dev', data__test_split=''
  )
  with pytest.raises(UserError, match=f"'dev', '' in {other}"):
    compare([str(finished_run)], [other])


def test_the_data_must_be_the_same(finished_run, small_data, tmp_path):
  shutil.copytree(small_data, tmp_path / 'data')
  captions = tmp_path / 'data/captions.jsonl'
  captions.write_text(captions.read_text().replace('val_0 shows', 'val_0 has'))
  other = changed_copy(
    finished_run, tmp_path / 'run', data__root=str(tmp_path / 'data')
  )
  with pytest.raises(UserError, match=f"of split 'val' in all runs; those of {other}"):
    compare([str(finished_run)], [other])


def test_a_folder_without_a_run_is_named(finished_run, tmp_path):
  with pytest.raises(UserError, match=f'found {tmp_path}'):
    compare([str(finished_run)], [str(tmp_path)])
