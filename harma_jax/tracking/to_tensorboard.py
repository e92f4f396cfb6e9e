"""TensorBoard: event files in the work folder."""

import time
from collections.abc import Mapping

import tensorboardX

from harma_jax.tracking.numbers import markdown_of
from harma_jax.tracking.tracker import TrackedRun

FOLDER = 'tensorboard'


def open_tracker(run: TrackedRun) -> 'TensorBoard':
  """Opens the run's event files."""
  return TensorBoard(run)


class TensorBoard:
  """See `Tracker`; what came after the last saved step is hidden by `purge_step`."""

  replaces = True

  def __init__(self, run: TrackedRun):
    folder = run.folder / FOLDER
    purged = 0 if run.last_saved is None else run.last_saved + 1
    self._writer = tensorboardX.SummaryWriter(
      str(folder),
      purge_step=purged,
      # A name has seconds; a second start within one would overwrite the first's file.
      filename_suffix=f'.{time.time_ns()}',
    )
    self.id, self.place = FOLDER, f'tensorboard --logdir={folder}'
    if run.last_saved is None:
      rows = [f'| {name} | {value} |' for name, value in run.fields.items()]
      text = '\n'.join(['| field | value |', '|---|---|', *rows])
      self._writer.add_text('config', text, 0)

  def log(self, values: Mapping[str, float], *, step: int) -> None:
    for name, value in values.items():
      self._writer.add_scalar(name, value, step)
    self._writer.flush()

  def conclude(self, results: Mapping, summary: Mapping[str, float]) -> None:
    for split, rows in results['splits'].items():
      self._writer.add_text(f'results/{split}', markdown_of(rows), results['steps'])

  def close(self) -> None:
    self._writer.close()
