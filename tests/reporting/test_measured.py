"""What a run's weights make of its data now, and whether that was recorded."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from harma_jax.building.params import read_workdir
from harma_jax.errors import UserError
from harma_jax.reporting.measured import TOLERANCE, measure
from harma_jax.reporting.record import read_record
from harma_jax.rundir.workdir import read_config


@pytest.fixture
def measured_of():
  """`measured_of(workdir, data_root=..., selecting='val')`: now."""

  def make(workdir, *, data_root=None, **changes):
    config = read_config(workdir, data_root=data_root)
    record = dataclasses.replace(read_record(workdir, config), **changes)
    return measure(config, read_workdir(workdir), workdir=workdir, record=record)

  return make


def recorded(workdir, row):
  """The mean recall that the run noted, of its first or last row of a step."""
  rows = json.loads((workdir / 'results.json').read_text())['splits']['val']
  return rows['step 0' if row == 'first' else list(rows)[-1]]['mean_recall']


def test_both_ends_of_training_come_again(measured_of, finished_run):
  found = measured_of(finished_run)
  assert found.table.split == 'val'
  assert list(found.features) == ['before', 'after']
  before, after = found.features.values()
  assert not np.allclose(before.images, after.images)
  assert found.missing == ''
  last = recorded(finished_run, 'last')
  gain = last - recorded(finished_run, 'first')
  rows = json.loads((finished_run / 'results.json').read_text())['splits']['test']
  selected = next(row for name, row in rows.items() if name.endswith('selected'))
  on_test = selected['mean_recall'] - rows['step 0']['mean_recall']
  assert [note.split(', 95 %')[0] for note in found.notes] == [
    'Computed anew for this page from the saved weights: mean recall '
    f'{last:.2f}, recorded {last:.2f}.',
    f'Mean recall on val after training less that before: {gain:+.2f}',
    f'Mean recall on test after training less that before: {on_test:+.2f}',
  ]


def test_other_starting_weights_are_not_taken_for_those_of_the_run(
  measured_of, copied, caplog
):
  found = measured_of(copied({'seed': 3}))
  assert list(found.features) == ['after']
  assert 'the starting weights cannot be rebuilt' in found.missing
  assert len(found.notes) == 1
  assert 'the model before training' in caplog.text


@pytest.mark.parametrize(('shift', 'agrees'), [(0.9, True), (1.1, False)])
def test_a_small_difference_is_that_of_devices(
  measured_of, finished_run, shift, agrees
):
  rows = json.loads((finished_run / 'results.json').read_text())['splits']['val']
  rows['step 0']['mean_recall'] += shift * TOLERANCE
  found = measured_of(finished_run, splits={'val': rows})
  assert ('before' in found.features) == agrees


def test_what_was_not_recorded_is_not_compared(measured_of, finished_run):
  note, _ = measured_of(finished_run, splits={}, best_step=None).notes
  assert note.endswith(f'mean recall {recorded(finished_run, "last"):.2f}.')


def test_other_data_are_refused(measured_of, finished_run, small_data, tmp_path):
  data = shutil.copytree(small_data, tmp_path / 'data')
  captions = (data / 'captions.jsonl').read_text()
  (data / 'captions.jsonl').write_text(captions.replace('boats', 'ships'))
  with pytest.raises(UserError, match=f"split 'val' .* those in {data} are others"):
    measured_of(finished_run, data_root=str(data))


def test_a_run_without_a_split_is_refused(measured_of, finished_run):
  with pytest.raises(UserError, match='this one evaluates none'):
    measured_of(finished_run, selecting='')
