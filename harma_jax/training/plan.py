"""When things are due in a run, in steps."""

import dataclasses
import itertools

from harma_jax.building.recipe import Pace
from harma_jax.data.annotations import CaptionTable
from harma_jax.data.sampler import steps_per_epoch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """When things are due, in steps.

  Attributes:
    total: steps of the run.
    per_epoch: steps of an epoch.
    evaluate_every: an evaluation, and a checkpoint with what it measured.
    save_every: further checkpoints; 0 for none.
    dispatch: how many steps are taken at once, where nothing is due between.
    log_every: a line of the log.
  """

  total: int
  per_epoch: int
  evaluate_every: int
  save_every: int
  dispatch: int
  log_every: int

  def evaluates(self, step: int) -> bool:
    """Whether validation is due before step number `step`."""
    return step % self.evaluate_every == 0 or step == self.total

  def saves(self, step: int) -> bool:
    """Whether a checkpoint is due before step number `step`."""
    return self.evaluates(step) or bool(self.save_every and step % self.save_every == 0)

  def logs(self, step: int) -> bool:
    """Whether a line of the log is due after `step` steps."""
    return step % self.log_every == 0 or step == self.total

  def next_due(self, step: int) -> int:
    """The step after `step` before which the host has something to do.

    It depends on the numbers alone: a run that resumes takes the same steps together.
    """
    return next(
      later
      for later in itertools.count(step + 1)
      if later % self.dispatch == 0 or self.saves(later) or self.logs(later)
    )


def make_plan(pace: Pace, *, table: CaptionTable) -> Plan:
  """The plan of a run on the captions of `table`."""
  items = table.n_images if pace.captions_per_image > 1 else table.n_captions
  per_epoch = steps_per_epoch(items, batch_size=pace.batch_size)
  return Plan(
    total=max(round(pace.epochs * per_epoch), 1) if pace.epochs else 0,
    per_epoch=per_epoch,
    evaluate_every=max(round(pace.evaluate_every * per_epoch), 1),
    save_every=pace.save_every,
    dispatch=pace.dispatch,
    log_every=pace.log_every,
  )
