"""The command that evaluates a run again: what it prints, of which data and splits."""

import json
import shutil

import pytest
from absl.testing import flagsaver

from harma_jax.errors import UserError
from harma_jax.evaluate import main
from harma_jax.rundir.workdir import read_config


@pytest.fixture
def run(capsys, tmp_path):
  """`run(workdir=...)`: what the command prints, and what it writes."""

  def make(**settings):
    out = tmp_path / 'measured.json'
    with flagsaver.flagsaver(out=str(out), **settings):
      main(['evaluate'])
    return capsys.readouterr().out, json.loads(out.read_text())

  return make


def test_each_split_has_its_table_and_its_numbers(run, finished_run):
  printed, measured = run(workdir=str(finished_run))
  assert list(measured) == ['val', 'test']
  for split, rows in measured.items():
    assert f'{split}: recall in %' in printed
    for name in ('step 0', 'selected'):
      rank = rows[name]['i2t_median_rank']
      assert f'{split}, {name}: i2t_median_rank {rank:.4g}, t2i_median' in printed
  for name in ('chance', 'ceiling', 'step 0', 'selected', 'identical right'):
    assert printed.count(f'│ {name} ') == 2


def test_the_last_line_is_the_verdict(run, finished_run):
  printed, measured = run(workdir=str(finished_run), split=['val'])
  rows = {name: row['mean_recall'] for name, row in measured['val'].items()}
  low, high = rows['selected, 2.5 %'], rows['selected, 97.5 %']
  gain = rows['selected'] - rows['step 0']
  assert printed.splitlines()[-1] == (
    f'val: mean recall {rows["selected"]:.1f} ({low:.1f} to {high:.1f}), '
    f'{gain:+.1f} to step 0; at most {rows["ceiling"]:.1f}'
  )


def test_a_machine_gets_json_alone(run, finished_run):
  printed, measured = run(workdir=str(finished_run), split=['val'], json=True)
  assert json.loads(printed) == measured


def test_what_was_not_measured_is_not_printed(run, finished_run, tmp_path):
  workdir = shutil.copytree(finished_run, tmp_path / 'run')
  config = read_config(finished_run)
  config.init = '/gone/weights.npz'
  (workdir / 'config.json').write_text(config.to_json())
  printed, measured = run(workdir=str(workdir), split=['val'])
  assert 'step 0' not in printed
  assert 'val, selected: ' in printed
  assert list(measured) == ['val']


def test_the_data_may_have_moved(run, finished_run, small_data, tmp_path):
  moved = shutil.copytree(small_data, tmp_path / 'moved')
  workdir = shutil.copytree(finished_run, tmp_path / 'run')
  config = read_config(finished_run)
  config.data.root = '/gone'
  (workdir / 'config.json').write_text(config.to_json())
  with pytest.raises(UserError, match='/gone'):
    run(workdir=str(workdir))
  _, measured = run(workdir=str(workdir), data_root=str(moved), split=['test'])
  _, expected = run(workdir=str(finished_run), split=['test'])
  assert measured['test'] == {
    name: pytest.approx(row) for name, row in expected['test'].items()
  }


def test_a_work_folder_must_be_given_and_hold_a_run(run, tmp_path):
  with pytest.raises(UserError, match='Expected --workdir=FOLDER'):
    run(workdir=None)
  with pytest.raises(UserError, match=f'found {tmp_path}/none'):
    run(workdir=f'{tmp_path}/none')
