"""trackio; TRACKIO_DIR, where its files are, is its own."""

import uuid
from collections.abc import Mapping

import trackio

from harma_jax.tracking.numbers import markdown_of
from harma_jax.tracking.tracker import PROJECT, TrackedRun


def open_tracker(run: TrackedRun) -> 'Trackio':
  """Opens the run, or goes on with that of an earlier start."""
  return Trackio(run)


class Trackio:
  """See `Tracker`; runs are found by their names, which are therefore made unique."""

  replaces = False

  def __init__(self, run: TrackedRun):
    self.id = run.id or f'{run.name}-{uuid.uuid4().hex[:6]}'
    self.place = f'trackio show --project={PROJECT}'
    self._run = trackio.init(
      project=PROJECT,
      name=self.id,
      group=run.group,
      resume='allow',
      config=dict(run.fields),
      embed=False,
      auto_log_cpu=False,
      auto_log_gpu=False,
    )

  def log(self, values: Mapping[str, float], *, step: int) -> None:
    self._run.log(dict(values), step=step)

  def conclude(self, results: Mapping, summary: Mapping[str, float]) -> None:
    tables = {
      f'tables/{split}': trackio.Markdown(markdown_of(rows))
      for split, rows in results['splits'].items()
    }
    self._run.log(dict(summary) | tables, step=results['steps'])

  def close(self) -> None:
    self._run.finish()
