"""The second command: the recalls of a run again, on other devices and data."""

import json
import shutil

import pytest
from absl.testing import flagsaver

from harma_jax.errors import UserError
from harma_jax.evaluate import evaluate, main
from harma_jax.evaluation.recall import RECALLS
from harma_jax.rundir.workdir import read_config


@pytest.fixture
def run(capsys):
  """`run(workdir=...)`: what the command prints, and its JSON."""

  def make(**settings):
    with flagsaver.flagsaver(**settings):
      main(['evaluate'])
    printed = capsys.readouterr().out
    return printed, json.loads(printed.splitlines()[-1])

  return make


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
  return {name: measured['val']['selected'][name] for name in RECALLS}


def test_the_recalls_are_those_of_the_end_of_training(run, finished_run, results):
  printed, measured = run(workdir=str(finished_run))
  assert list(measured) == ['val', 'test']
  for split in measured:
    for name, recalls in results[split].items():
      found = {key: measured[split][name][key] for key in recalls}
      assert found == pytest.approx(recalls)
    assert f'{split}: recall in %' in printed
  assert printed.count('│ chance') == printed.count('│ ceiling') == 2


def test_more_is_measured_than_recall(run, finished_run):
  printed, measured = run(workdir=str(finished_run), split=['val'])
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
    assert rows[name].keys() == {*RECALLS, *further, 'text_uniformity', 'modality_gap'}
    assert (
      f'val, {name}: i2t_median_rank {rows[name]["i2t_median_rank"]:.4g}' in printed
    )
  assert rows['step 0']['alignment'] != rows['selected']['alignment']


def test_what_a_run_started_from_may_be_gone(
  run, finished_run, tmp_path, caplog, results
):
  shutil.copytree(finished_run, tmp_path / 'run')
  config = read_config(finished_run)
  config.init = '/gone/weights.npz'
  (tmp_path / 'run/config.json').write_text(config.to_json())
  printed, measured = run(workdir=str(tmp_path / 'run'), split=['val'])
  assert 'step 0' not in printed
  assert 'step 0' not in measured['val']
  assert '/gone/weights.npz' in caplog.text
  assert measured['val']['chance'] == results['val']['chance']


def test_one_split_may_be_asked_for(run, finished_run, results):
  _, measured = run(workdir=str(finished_run), split=['test'])
  assert list(measured) == ['test']
  _, measured = run(workdir=str(finished_run), split=['train'])
  assert list(measured) == ['train']


@pytest.mark.parametrize(
  'changes', [{'evaluation.batch_size': 3}, {'mesh.fsdp': 16}, {'mesh.fsdp': 2}]
)
def test_devices_may_differ_from_those_of_training(finished_run, results, changes):
  config = read_config(finished_run)
  config.update_from_flattened_dict(changes)
  measured = evaluate(config, workdir=str(finished_run), splits=['val'])
  assert recalls_of(measured) == pytest.approx(results['val']['selected'])


def test_the_data_may_have_moved(run, finished_run, small_data, tmp_path, results):
  shutil.copytree(small_data, tmp_path / 'moved')
  shutil.copytree(finished_run, tmp_path / 'run')
  config = read_config(finished_run)
  config.data.root = '/gone'
  (tmp_path / 'run/config.json').write_text(config.to_json())
  with pytest.raises(UserError, match='/gone'):
    run(workdir=str(tmp_path / 'run'))
  _, measured = run(
    workdir=str(tmp_path / 'run'), data_root=str(tmp_path / 'moved'), split=['val']
  )
  assert recalls_of(measured) == pytest.approx(results['val']['selected'])


def test_a_split_that_is_not_there_is_named(run, finished_run):
  with pytest.raises(UserError, match=r"rows of split 'final'.*val \(12 rows\)"):
    run(workdir=str(finished_run), split=['final'])


def test_a_work_folder_must_be_given_and_hold_a_run(run, tmp_path):
  with pytest.raises(UserError, match='Expected --workdir=FOLDER'):
    run(workdir=None)
  with pytest.raises(UserError, match=f'found {tmp_path}/none'):
    run(workdir=f'{tmp_path}/none')


def test_a_run_without_saved_steps_is_named(finished_run, tmp_path):
  shutil.copy(finished_run / 'config.json', tmp_path)
  config = read_config(finished_run)
  with pytest.raises(UserError, match=f'saved steps; found none in {tmp_path}'):
    evaluate(config, workdir=str(tmp_path), splits=['val'])
