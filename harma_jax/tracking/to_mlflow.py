"""MLflow; MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME are its own."""

import os
import time
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from harma_jax.tracking.numbers import markdown_of
from harma_jax.tracking.tracker import PROJECT, TrackedRun

PARAMS = 100  # that a server takes at once
LONGEST = 500  # characters of a value that every server takes


def open_tracker(run: TrackedRun) -> 'MLflow':
  """Opens the run, or goes on with that of an earlier start."""
  return MLflow(run)


class MLflow:
  """See `Tracker`; of a client of its own, not MLflow's active run."""

  replaces = False

  def __init__(self, run: TrackedRun):
    self._client = MlflowClient()
    self.id = run.id or self._create(run)
    self._client.update_run(self.id, status='RUNNING')
    self.place = f'run {self.id} at {self._client.tracking_uri}'

  def _create(self, run: TrackedRun) -> str:
    name = os.environ.get('MLFLOW_EXPERIMENT_NAME', PROJECT)
    found = self._client.get_experiment_by_name(name)
    number = found.experiment_id if found else self._client.create_experiment(name)
    tags = {MLFLOW_RUN_NAME: run.name, 'group': run.group}
    created = self._client.create_run(number, run_name=run.name, tags=tags)
    params = [Param(key, str(value)[:LONGEST]) for key, value in run.fields.items()]
    for first in range(0, len(params), PARAMS):
      part = params[first : first + PARAMS]
      self._client.log_batch(created.info.run_id, params=part)
    return created.info.run_id

  def log(self, values: Mapping[str, float], *, step: int) -> None:
    now = int(1000 * time.time())
    metrics = [Metric(name, value, now, step) for name, value in values.items()]
    self._client.log_batch(self.id, metrics=metrics)

  def conclude(self, results: Mapping, summary: Mapping[str, float]) -> None:
    self.log(summary, step=results['steps'])
    self._client.log_dict(self.id, dict(results), 'results.json')
    for split, rows in results['splits'].items():
      self._client.log_text(self.id, markdown_of(rows), f'tables/{split}.md')
    self._client.set_terminated(self.id)

  def close(self) -> None:
    """All has been sent; a run that has not ended stays RUNNING, and is taken up."""
