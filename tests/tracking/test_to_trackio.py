"""trackio on this machine, read back with its own interface."""

import pytest

trackio = pytest.importorskip('trackio')


def test_a_resumed_run_is_one_run(stopped_and_resumed, monkeypatch, tmp_path):
  storage = pytest.importorskip('trackio.sqlite_storage')
  monkeypatch.setattr(storage, 'TRACKIO_DIR', tmp_path)
  stopped_and_resumed(['trackio'])
  [run] = storage.SQLiteStorage.get_runs('harma_jax')
  assert run.startswith('runs-seed_3-')
  rows = storage.SQLiteStorage.get_logs('harma_jax', run)
  losses = [(row['step'], row['train/loss']) for row in rows if 'train/loss' in row]
  assert losses == [(step, 10.0 - step) for step in range(1, 9)]
  [test] = [row for row in rows if 'test/mean_recall' in row]
  assert (test['step'], test['test/mean_recall']) == (6, 7.0)
  assert rows[-1]['results/test/selected/mean_recall'] == 7.0
