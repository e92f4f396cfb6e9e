"""What a run reports: a progress bar or plain lines, and `metrics.jsonl` always."""

import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from absl import logging
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from harma_jax.devices.stop import put_away
from harma_jax.evaluation.recall import RECALLS, Recall
from harma_jax.rundir.reading import read_rows
from harma_jax.rundir.workdir import append_rows, replace_text

STEPS, EVALUATING = 'step', 'evaluating'


class RunLog:
  """Progress of a run for the eye, and its numbers for machines.

  On a terminal (standard error) a bar with pairs/s and the time left, elsewhere one
  line every `log_every` steps. The first process writes `metrics.jsonl`.

  Attributes:
    listeners: each is called with every row that is written.
    dropped: rows of an earlier start that were taken out, for they come again.
  """

  def __init__(
    self,
    path: pathlib.Path,
    *,
    last_saved: int | None,
    total_steps: int,
    steps_per_epoch: int,
    batch_size: int,
    log_every: int,
    evaluate_every: int,
  ):
    self._steps_per_epoch, self._total = steps_per_epoch, total_steps
    self._batch_size, self._every = batch_size, log_every
    self._evaluate_every, self._took, self._is_told = evaluate_every, {}, False
    self._writes = jax.process_index() == 0
    self._path, self._skipped = path, 0
    self.listeners: list[Callable[[dict], None]] = []
    self.dropped: list[dict] = []
    if self._writes:
      self.dropped = drop_rows_after(path, last_saved)
      _warn_of_lost(path, last_saved or 0, every=log_every)
    self._bar = _progress_bar(enabled=self._writes)
    self._task = self._bar.add_task(
      STEPS, total=total_steps, completed=last_saved or 0, loss='', speed=''
    )
    self._step = last_saved or 0
    self.start_clock(self._step)

  def __enter__(self):
    self._shown = put_away(self._bar.stop)  # or a terminal would miss its cursor
    self._shown.__enter__()
    self._bar.start()
    return self

  def __exit__(self, *error):
    self._shown.__exit__(*error)

  def start_clock(self, step: int) -> None:
    """Counts pairs/s from `step` and from now on: what came before is not training."""
    self._since = self._began = step
    self._clock = self._began_clock = time.monotonic()

  @contextlib.contextmanager
  def busy(self, what: str) -> Iterator[None]:
    """Says what is done instead of steps, and keeps it out of their time."""
    begin = time.monotonic()
    self._bar.update(self._task, description=what)
    if self._bar.disable:
      logging.info('%s', what)
    yield
    self._bar.update(self._task, description=STEPS)
    self._took[what] = time.monotonic() - begin
    self.start_clock(self._step)

  def during(self, what: str, wait: Callable) -> Callable:
    """`wait`, which says what it waits for while it does."""

    def wait_for(act):
      with self.busy(what):
        return wait(act)

    return wait_for

  def is_due(self, step: int) -> bool:
    """Whether `train` reads the metrics of this step."""
    return step % self._every == 0 or step == self._total

  def train(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
    """Notes that `step` steps are done; reads `metrics` only when a line is due."""
    self._bar.update(self._task, completed=step)
    self._step = step
    if not self._is_told and step - self._began >= 2:
      self._tell_time(step, metrics)
    if not self.is_due(step):
      return
    values = {name: np.asarray(value).tolist() for name, value in metrics.items()}
    pairs = (step - self._since) * self._batch_size
    speed = pairs / (time.monotonic() - self._clock)
    self._since, self._clock = step, time.monotonic()
    epoch = step / self._steps_per_epoch
    self._write(kind='train', step=step, epoch=epoch, **values, pairs_per_second=speed)
    self._warn_of_skipped(values)
    self._bar.update(
      self._task, loss=f'loss {values["loss"]:.3f}', speed=f'{speed:,.0f} pairs/s'
    )
    if self._bar.disable:
      left = (self._total - step) * self._batch_size / speed
      scalars = {n: value for n, value in values.items() if isinstance(value, float)}
      terms = ', '.join(f'{name} {value:.4g}' for name, value in scalars.items())
      logging.info(
        'step %d of %d, epoch %.2f, %s, %.0f pairs/s, %.0f s left',
        *(step, self._total, epoch, terms, speed, left),
      )

  def _tell_time(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
    """Says, once, how long the rest will take by the first steps that are timed."""
    self._is_told = True
    jax.block_until_ready(metrics)
    seconds = (time.monotonic() - self._began_clock) / (step - self._began)
    left = self._total - step
    evaluations = self._total // self._evaluate_every - step // self._evaluate_every
    evaluation = self._took.get(EVALUATING)  # none was timed yet after a resume
    each = f'of at most {duration(evaluation)}' if evaluation else 'not timed yet'
    logging.info(
      'about %s to go: %d steps of %.2g s, %d evaluations %s; compilations for other '
      'lengths of captions come on top',
      duration(left * seconds + evaluations * (evaluation or 0.0)),
      *(left, seconds, evaluations, each),
    )

  def _warn_of_skipped(self, values: Mapping) -> None:
    skipped = values.get('skipped', 0)
    if skipped > self._skipped:
      logging.warning('%d steps skipped so far: loss or gradient not finite', skipped)
    self._skipped = skipped

  def evaluation(self, step: int, *, split: str, recall: Recall) -> None:
    """Notes the recalls of a split after `step` steps."""
    self._write(kind='evaluation', step=step, split=split, **recall)
    logging.info(
      'step %d, %s: mean recall %.2f (%s), ties against the model',
      *(step, split, recall['mean_recall']),
      ', '.join(f'{name} {recall[name]:.1f}' for name in RECALLS[:-1]),
    )

  def rows(self) -> list[dict]:
    """All rows of the run so far, those before a resume included."""
    return read_rows(self._path)

  def evaluations(self) -> list[dict]:
    """Those of `rows` that are evaluations."""
    return [row for row in self.rows() if row.get('kind') == 'evaluation']

  def _write(self, **row) -> None:
    if not self._writes:
      return
    append_rows(self._path, [row])
    for listener in self.listeners:
      listener(row)


def duration(seconds: float) -> str:
  """As `9.3 s`, `4 min 05 s` or `1 h 20 min`."""
  if seconds < 60:
    return f'{seconds:.1f} s'
  minutes, rest = divmod(round(seconds), 60)
  if minutes < 60:
    return f'{minutes} min {rest:02} s'
  return f'{minutes // 60} h {minutes % 60:02} min'


def _progress_bar(*, enabled: bool) -> Progress:
  console = Console(stderr=True)
  return Progress(
    TextColumn('{task.description} {task.completed:,} of {task.total:,}'),
    BarColumn(),
    TextColumn('{task.fields[loss]}  {task.fields[speed]}'),
    TimeRemainingColumn(),
    console=console,
    disable=not (enabled and console.is_interactive),
  )


def drop_rows_after(path: pathlib.Path, last_saved: int | None) -> list[dict]:
  """Takes out, and returns, what a stopped run wrote after its last checkpoint."""
  last = -1 if last_saved is None else last_saved
  rows = read_rows(path)
  kept = [row for row in rows if row['step'] <= last]
  replace_text(path, ''.join(json.dumps(row) + '\n' for row in kept))
  return [row for row in rows if row['step'] > last]


def _warn_of_lost(path: pathlib.Path, last_saved: int, *, every: int) -> None:
  """Says where rows before the last checkpoint are not there: the file was cut."""
  last = max((row['step'] for row in read_rows(path)), default=0)
  if last_saved - last >= every:
    logging.warning(
      '%s: expected rows up to step %d, the last that is saved; found them up to %d. '
      'What stood between is lost; the run goes on, and its curves and tables lack it.',
      *(path, last_saved, last),
    )
