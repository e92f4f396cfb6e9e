"""MLflow, with a store of files, read back with its own client."""

import json

import pytest

mlflow = pytest.importorskip('mlflow')


def test_a_resumed_run_is_one_run(stopped_and_resumed, monkeypatch, tmp_path):
  monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
  monkeypatch.setenv('MLFLOW_TRACKING_URI', (tmp_path / 'store').as_uri())
  monkeypatch.setenv('MLFLOW_EXPERIMENT_NAME', 'ours')
  stopped_and_resumed(['mlflow'])
  client = mlflow.MlflowClient()
  experiment = client.get_experiment_by_name('ours')
  [run] = client.search_runs([experiment.experiment_id])
  loss = client.get_metric_history(run.info.run_id, 'train/loss')
  assert [(m.step, m.value) for m in loss] == [(n, 10.0 - n) for n in range(1, 9)]
  [test] = client.get_metric_history(run.info.run_id, 'test/mean_recall')
  assert (test.step, test.value) == (6, 7.0)
  assert run.data.metrics['results/test/selected/mean_recall'] == 7.0
  assert run.data.params['train.batch_size'] == '8'
  assert (run.info.status, run.info.run_name) == ('FINISHED', 'runs-seed_3')
  path = client.download_artifacts(run.info.run_id, 'results.json', str(tmp_path))
  with open(path) as file:
    assert json.load(file)['best_step'] == 6
