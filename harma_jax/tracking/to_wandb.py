"""Weights & Biases; WANDB_PROJECT, WANDB_ENTITY and WANDB_MODE are its own."""

import os
import uuid
from collections.abc import Mapping

import wandb

from harma_jax.evaluation.recall import RECALLS
from harma_jax.tracking.tracker import PROJECT, TrackedRun


def open_tracker(run: TrackedRun) -> 'WeightsAndBiases':
  """Opens the run, or goes on with that of an earlier start."""
  return WeightsAndBiases(run)


class WeightsAndBiases:
  """See `Tracker`.

  Rows have their step as a metric of their own: what is measured last belongs to an
  earlier step, and the count of W&B never goes back.
  """

  replaces = False

  def __init__(self, run: TrackedRun):
    self.id = run.id or uuid.uuid4().hex[:8]
    self._run = wandb.init(
      project=os.environ.get('WANDB_PROJECT', PROJECT),
      id=self.id,
      name=run.name,
      group=run.group,
      resume='allow',
      config=dict(run.fields),
      allow_val_change=True,
      dir=str(run.folder),
      settings=wandb.Settings(silent=True, console='off'),
    )
    self.place = self._run.url or self._run.dir
    self._run.define_metric('step', hidden=True)
    self._run.define_metric('*', step_metric='step')

  def log(self, values: Mapping[str, float], *, step: int) -> None:
    self._run.log(dict(values) | {'step': step})

  def conclude(self, results: Mapping, summary: Mapping[str, float]) -> None:
    self._run.summary.update(dict(summary))
    for split, rows in results['splits'].items():
      data = [[name, *map(recall.get, RECALLS)] for name, recall in rows.items()]
      table = wandb.Table(columns=['row', *RECALLS], data=data)
      self._run.log({f'tables/{split}': table, 'step': results['steps']})

  def close(self) -> None:
    self._run.finish()
