"""The recalls of a run again, on other devices and data, and what else is measured."""

import json
import shutil

import pytest

from harma_jax.errors import UserError
from harma_jax.evaluation.recall import RECALLS
from harma_jax.evaluation.ties import RECORDED
from harma_jax.results.evaluation import evaluate
from harma_jax.rundir.workdir import read_config


@pytest.fixture
def results(finished_run):
  """The final recalls of the run, by split."""
  splits = json.loads((finished_run / 'results.json').read_text())['splits']
  return {
    split: {
      **{name: rows[name] for name in ('chance', 'ceiling', 'step 0')},
      'selected': list(rows.values())[-1],
    }
    for split, rows in splits.items()
  }


def recalls_of(measured):
  return {name: measured['val']['selected'][name] for name in RECORDED}


@pytest.fixture(scope='module')
def measured(finished_run):
  config = read_config(finished_run)
  return evaluate(config, workdir=str(finished_run), splits=['val', 'test'])


def test_the_recalls_are_those_of_the_end_of_training(measured, results):
  assert list(measured) == ['val', 'test']
  for split in measured:
    for name, recalls in results[split].items():
      found = {key: measured[split][name][key] for key in recalls}
      assert found == pytest.approx(recalls)


def test_more_is_measured_than_recall(measured):
  rows = measured['val']
  for name in RECALLS:
    recall = rows['selected'][name]
    assert rows['selected, 2.5 %'][name] <= recall <= rows['selected, 97.5 %'][name]
    aware = rows['identical right'][name]
    assert recall <= min(aware, rows['ceiling'][name])
    low, high = (rows[f'identical right, {share} %'][name] for share in (2.5, 97.5))
    assert low <= aware <= high
  further = {'i2t_median_rank', 't2i_median_rank', 'alignment', 'image_uniformity'}
  for name in ('step 0', 'selected'):
    assert rows[name].keys() == {*RECORDED, *further, 'text_uniformity', 'modality_gap'}
  assert rows['step 0']['alignment'] != rows['selected']['alignment']


def test_what_a_run_started_from_may_be_gone(finished_run, tmp_path, caplog, results):
  workdir = shutil.copytree(finished_run, tmp_path / 'run')
  config = read_config(finished_run)
  config.init = '/gone/weights.npz'
  (workdir / 'config.json').write_text(config.to_json())
  measured = evaluate(config, workdir=str(workdir), splits=['val'])
  assert 'step 0' not in measured['val']
  assert '/gone/weights.npz' in caplog.text
  assert measured['val']['chance'] == results['val']['chance']


def test_a_split_that_trained_may_be_asked_for(finished_run):
  config = read_config(finished_run)
  measured = evaluate(config, workdir=str(finished_run), splits=['train'])
  assert list(measured) == ['train']


def test_a_split_that_is_not_there_is_named(finished_run):
  config = read_config(finished_run)
  with pytest.raises(UserError, match=r"rows of split 'final'.*val \(12 rows\)"):
    evaluate(config, workdir=str(finished_run), splits=['final'])


@pytest.mark.parametrize(
  'changes', [{'evaluation.batch_size': 3}, {'mesh.fsdp': 16}, {'mesh.fsdp': 2}]
)
def test_devices_may_differ_from_those_of_training(finished_run, results, changes):
  config = read_config(finished_run)
  config.update_from_flattened_dict(changes)
  measured = evaluate(config, workdir=str(finished_run), splits=['val'])
  assert recalls_of(measured) == pytest.approx(results['val']['selected'])


def test_a_run_without_saved_steps_is_named(finished_run, tmp_path):
  shutil.copy(finished_run / 'config.json', tmp_path)
  config = read_config(finished_run)
  with pytest.raises(UserError, match=f'saved steps; found none in {tmp_path}'):
    evaluate(config, workdir=str(tmp_path), splits=['val'])
