"""What is read of a run's folder, ended or not."""

import json

import pytest

from harma_jax.reporting.record import read_record
from harma_jax.rundir.workdir import flat, read_config


@pytest.fixture
def record_of():
  """`record_of(workdir)`: what its run wrote down."""
  return lambda workdir: read_record(workdir, read_config(workdir))


def test_a_run_that_has_ended_has_its_results(record_of, finished_run):
  results = json.loads((finished_run / 'results.json').read_text())
  record = record_of(finished_run)
  assert record.results == results
  assert record.splits == results['splits']
  assert record.best_step == results['best_step']
  assert record.selecting == 'val'
  assert record.fields == flat(read_config(finished_run))
  assert record.provenance['seed'] == 0


def test_a_run_that_goes_on_has_what_it_measured_so_far(record_of, copied):
  workdir = copied()
  (workdir / 'results.json').unlink()
  record = record_of(workdir)
  of_val = [row for row in record.rows if row.get('split') == 'val']
  best = max(of_val, key=lambda row: row['mean_recall'])
  assert record.results == {}
  assert record.best_step == best['step']
  assert any(name.startswith(f'step {best["step"]}') for name in record.splits['val'])


def test_splits_are_called_by_their_role(record_of, copied):
  workdir = copied({'data.val_split': 'dev'})
  rows = (workdir / 'metrics.jsonl').read_text()
  (workdir / 'metrics.jsonl').write_text(rows.replace('"val"', '"dev"'))
  (workdir / 'results.json').unlink()
  record = record_of(workdir)
  assert 'dev' not in {row.get('split') for row in record.rows}
  assert 'val' in record.splits
  assert record.selecting == 'val'


def test_a_run_that_evaluates_nothing_selects_on_nothing(record_of, copied):
  workdir = copied({'data.val_split': '', 'data.test_split': ''})
  assert record_of(workdir).selecting == ''
