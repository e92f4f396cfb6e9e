"""The trackers of a run while it lasts."""

import contextlib
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import jax
from absl import logging
from ml_collections import ConfigDict

from harma_jax.rundir.folder import RunFolder
from harma_jax.rundir.workdir import PRETRAIN, flat, without_paths
from harma_jax.tracking.kinds import module_of
from harma_jax.tracking.memory import Memory, key_of
from harma_jax.tracking.numbers import numbers_of, summary_of
from harma_jax.tracking.tracker import TrackedRun, Tracker
from harma_jax.tracking.worker import Worker

# How long the trackers, together, may take to send what is left, in seconds.
AT_END, WHEN_STOPPED = 60.0, 3.0


class Session:
  """The open trackers of a run; none where nobody asked for one."""

  def __init__(self, workers: Sequence[Worker] = ()):
    self._workers = workers

  def conclude(self, results: Mapping) -> None:
    """Sends the final tables, as `results.json` has them."""
    summary = summary_of(results)
    for worker in self._workers:
      worker.call(lambda tracker: tracker.conclude(results, summary))

  def close(self, *, seconds: float) -> None:
    """Waits until all is sent, for so long with each."""
    for worker in self._workers:
      worker.close(seconds=seconds)


@contextlib.contextmanager
def tracked(
  names: Sequence[str], folder: RunFolder, *, config: ConfigDict
) -> Iterator[Session]:
  """Sends what the run in `folder` logs to trackers, from the first process.

  A tracker that meets the run for the first time gets the rows before it too.

  Args:
    names: of `KINDS`.
    folder: of the run, before its first row of this start.
    config: of the run.
  """
  if not names or jax.process_index():
    yield Session()
    return
  last_saved = folder.checkpoints.latest_step()
  memory = Memory(folder.path, last_saved=last_saved, dropped=folder.log.dropped)
  session = Session(
    [
      _listening(name, folder, memory=memory, config=config, last_saved=last_saved)
      for name in names
    ]
  )
  seconds = WHEN_STOPPED
  try:
    yield session
    seconds = AT_END
  finally:
    session.close(seconds=seconds)


def _listening(
  name: str,
  folder: RunFolder,
  *,
  memory: Memory,
  config: ConfigDict,
  last_saved: int | None,
) -> Worker:
  """A worker that hears all rows of the run from now on, and those of before."""
  id_ = memory.id_of(name)
  run = _run_of(folder.path, config=config, id_=id_, last_saved=last_saved)
  worker = Worker(name, functools.partial(_open, name, run, memory=memory))
  sent = memory.sent_to(name)

  def send(row):
    numbers, step, key = numbers_of(row), row['step'], key_of(row)

    def log(tracker):
      if tracker.replaces or key not in sent:
        tracker.log(numbers, step=step)

    worker.call(log)

  for row in [] if id_ else folder.log.rows():
    send(row)
  folder.log.listeners.append(send)
  return worker


def _open(name: str, run: TrackedRun, *, memory: Memory) -> Tracker:
  tracker = module_of(name).open_tracker(run)
  memory.remember(name, tracker.id)
  logging.info('tracked by %s: %s', name, tracker.place)
  return tracker


def _run_of(
  folder: pathlib.Path, *, config: ConfigDict, id_: str, last_saved: int | None
) -> TrackedRun:
  path = folder.expanduser().resolve()
  is_part = path.name == PRETRAIN or path.name.startswith('seed_')
  return TrackedRun(
    folder=path,
    name=f'{path.parent.name}-{path.name}' if is_part else path.name,
    group=path.parent.name if is_part else path.name,
    id=id_,
    last_saved=last_saved if id_ else None,
    fields=without_paths(flat(config)),
  )
