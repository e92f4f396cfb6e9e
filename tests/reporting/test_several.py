"""The page of several runs: means and deviations, gains, curves, what limits them."""

import contextlib
import io
import json
import re
import shutil

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.evaluation.recall import RECALLS
from harma_jax.reporting.several import differing_fields, mean_line, report_several
from harma_jax.training.seeds import train_seeds


@pytest.fixture(scope='module')
def seeds(small_config, tmp_path_factory):
  """The folder of two seeds of `small_config()`; not to be changed."""
  folder = tmp_path_factory.mktemp('several') / 'lower'
  config = small_config({'optimizer.learning_rate': 0.01})
  with contextlib.redirect_stdout(io.StringIO()):
    train_seeds(config, workdir=folder, seeds=[1, 2])
  return folder


@pytest.fixture(scope='module')
def text(seeds, finished_run):
  """The page of two seeds beside one run."""
  return report_several([str(seeds), str(finished_run)])


def results_of(folder):
  return json.loads((folder / 'results.json').read_text())


def selected_of(folder, split):
  results = results_of(folder)
  step = f'step {results["best_step"]}'
  rows = results['splits'][split]
  return next(row for name, row in rows.items() if name.split(',')[0] == step)


def cells_of(text, name):
  row = re.search(rf'<th scope="row">{re.escape(name)}</th>(.*?)</tr>', text)
  return re.findall('<td>(.*?)</td>', row[1])


def test_rows_are_means_and_deviations_over_seeds(text, seeds, finished_run):
  for split in ('val', 'test'):
    table = re.search(rf'<caption>{split}: recall in %.*?</table>', text)[0]
    rows = [selected_of(seeds / name, split) for name in ('seed_1', 'seed_2')]
    values = np.array([[row[key] for key in RECALLS] for row in rows])
    mean, sd = values.mean(axis=0), values.std(axis=0, ddof=1)
    assert cells_of(table, 'lower: selected, mean') == [f'{v:.2f}' for v in mean]
    assert cells_of(table, 'lower: selected, sd') == [f'{v:.2f}' for v in sd]
    alone = selected_of(finished_run, split)
    found = cells_of(table, f'{finished_run.name}: selected, mean')
    assert found == [f'{alone[key]:.2f}' for key in RECALLS]
    assert f'{finished_run.name}: selected, sd' not in table
    chance = results_of(finished_run)['splits'][split]['chance']
    assert cells_of(table, 'chance') == [f'{chance[key]:.2f}' for key in RECALLS]
    assert 'lower: chance' not in table


def test_the_gain_stands_on_both_splits_with_its_intervals(text, seeds, finished_run):
  for split in ('val', 'test'):
    folders = [seeds / name for name in ('seed_1', 'seed_2')]
    after = [selected_of(folder, split)['mean_recall'] for folder in folders]
    before = [
      results_of(folder)['splits'][split]['step 0']['mean_recall'] for folder in folders
    ]
    found = cells_of(text, f'lower, {split}')
    expected = [np.mean(before), np.mean(after), np.mean(np.subtract(after, before))]
    assert [float(cell) for cell in found[:3]] == pytest.approx(expected, abs=0.006)
    low, high = map(float, found[3].split(' to '))
    assert low <= float(found[2]) <= high
    assert ' to ' in found[4] or found[4] == 'no spread'
    assert cells_of(text, f'{finished_run.name}, {split}')[4] == ''


def test_each_seed_has_its_curves_and_the_methods_their_mean(text, finished_run):
  labels = re.findall(r'aria-label="(.*?)"', text)
  recall = [of for of in labels if of.startswith('mean recall (mR) in %, lower by')]
  assert len(recall) == 1
  assert 'seed 1 from' in recall[0]
  assert 'seed 2 from' in recall[0]
  [mean] = [of for of in labels if of.startswith('mean recall (mR) in %, mean by')]
  assert 'lower from' in mean
  assert f'{finished_run.name} from' in mean
  assert sum(of.startswith('loss, ') for of in labels) == 2


def test_it_says_what_limits_the_numbers_and_where_methods_differ(text, finished_run):
  cautions = re.search('<section class="caution">.*?</section>', text)[0]
  assert 'lower: means and deviations over the seeds 1, 2.' in cautions
  assert f'{finished_run.name}: one seed (0), no spread is shown.' in cautions
  assert f'lower, {finished_run.name}: The recall on val chose the step' in cautions
  assert 'SAME DATA' not in cautions
  assert cells_of(text, 'optimizer.learning_rate') == ['0.01', '0.02']


def test_it_fetches_nothing_and_has_no_path(text, seeds, small_data):
  assert not re.search(r'url\(|@import|<script|<link|<iframe|src="(?!data:)', text)
  assert str(seeds.parent) not in text
  assert str(small_data.parent) not in text
  assert 'published' not in text


def test_without_the_data_the_gain_is_left_out(seeds, tmp_path, caplog):
  text = report_several([str(seeds)], data_root=str(tmp_path / 'gone'))
  assert 'Left out: the data set or the starting weights' in text
  assert 'the gain of lower on test' in caplog.text
  assert cells_of(text, 'lower: selected, mean')


def test_other_data_are_said(seeds, finished_run, tmp_path):
  other = shutil.copytree(finished_run, tmp_path / 'other')
  data = json.loads((other / 'data.json').read_text())
  (other / 'data.json').write_text(json.dumps(data | {'val': 'others'}))
  assert 'NOT ALL RUNS HAVE THE SAME DATA' in report_several([str(seeds), str(other)])


def test_a_published_test_split_has_published_rows_beside_the_mean(seeds, tmp_path):
  folder = shutil.copytree(seeds, tmp_path / 'lower')
  for name in ('seed_1', 'seed_2'):
    config = json.loads((folder / name / 'config.json').read_text())
    config['data']['root'] = '/data/RSITMD'
    (folder / name / 'config.json').write_text(json.dumps(config))
    results = results_of(folder / name)
    results['counts']['test'] = {'images': 452, 'captions': 2260}
    (folder / name / 'results.json').write_text(json.dumps(results))
  text = report_several([str(folder)])
  rows = [selected_of(folder / name, 'test') for name in ('seed_1', 'seed_2')]
  mean = np.mean([row['mean_recall_expected'] for row in rows])
  found = cells_of(text, 'lower, selected, mean, ties at random')
  assert found[0] == f'{mean:.2f}'
  assert 'HarMA on GeoRSCLIP RET-2' in text


def test_runs_that_have_not_ended_and_folders_twice_are_mistakes(
  finished_run, seeds, tmp_path
):
  other = shutil.copytree(finished_run, tmp_path / 'other')
  (other / 'results.json').unlink()
  with pytest.raises(UserError, match=f'runs that have ended.*found {other}, which'):
    report_several([str(seeds), str(other)])
  with pytest.raises(UserError, match='found one twice'):
    report_several([str(seeds), str(seeds)])


def test_fields_that_differ_are_named_without_paths():
  configs = [
    {'seed': 1, 'init': '/home/me/a.pt', 'train.epochs': 2.0, 'same': 1},
    {'seed': 2, 'init': '/home/me/b.pt', 'train.epochs': 2.0, 'same': 1, 'more': 3},
  ]
  assert differing_fields(configs) == [('init', 'a.pt', 'b.pt'), ('more', 'none', '3')]


def test_a_mean_line_has_the_places_that_all_have():
  lines = [[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)], [(0.0, 2.0), (2.0, 6.0)]]
  assert mean_line(lines) == [(0.0, 1.5), (2.0, 5.5)]
