"""Saving and restoring of runs; the only file that imports orbax."""

import contextlib
import json
import math
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers, multihost

from harma_jax.errors import UserError
from harma_jax.rundir.steps import check_steps, reading
from harma_jax.rundir.workdir import (
  CHECKPOINT_FOLDER,
  FROZEN_FOLDER,
  replace_text,
  writing,
)
from harma_jax.stepping.optim import merge_params
from harma_jax.stepping.step import TrainState

# What selects among a step's metrics; in those of older runs it is the mean recall.
SELECTION, MEAN_RECALL = 'selection', 'mean_recall'

# In place of the metrics of a step whose evaluation was stopped.
_DUE = {'due': True}


class Checkpoints:
  """The saved steps of one run: what trains at every step, the frozen weights once.

  Kept are the `keep` latest steps, those that `keep_every` divides (0: none), and the
  one whose `SELECTION` is best; a step that was saved without metrics is never the
  best while one with metrics is there. Where nothing is saved, `create=False` leaves
  the folder as it is; it must be there.

  Raises:
    UserError: a step that is not whole; see `check_steps`.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    *,
    keep: int = 1,
    keep_every: int = 0,
    create: bool = True,
  ):
    self._workdir = pathlib.Path(workdir).resolve()
    self._frozen = self._workdir / FROZEN_FOLDER
    best = checkpoint_managers.BestN(
      get_metric_fn=_quality, n=1, keep_checkpoints_without_metrics=False
    )
    policies = [checkpoint_managers.LatestN(keep), best]
    if keep_every:
      policies.append(checkpoint_managers.EveryNSteps(keep_every))
    policy = checkpoint_managers.AnyPreservationPolicy(policies)
    check_steps(self._workdir / CHECKPOINT_FOLDER)
    with writing(self._workdir):
      self._manager = ocp.CheckpointManager(
        self._workdir / CHECKPOINT_FOLDER,
        options=ocp.CheckpointManagerOptions(
          best_fn=_quality, preservation_policy=policy, create=create
        ),
      )

  @property
  def workdir(self) -> pathlib.Path:
    """The folder of the run."""
    return self._workdir

  def latest_step(self) -> int | None:
    """The last step that was saved."""
    return self._manager.latest_step()

  def best_step(self) -> int | None:
    """The step with the best `SELECTION`; the last one where none was measured."""
    return self._manager.best_step()

  def metrics(self, step: int) -> dict:
    """What was measured at a saved step; empty where nothing was."""
    return {} if self.is_due(step) else self._manager.metrics(step) or {}

  def is_due(self, step: int) -> bool:
    """Whether a step was saved before what it was to be measured by had ended."""
    return self._manager.metrics(step) == _DUE

  def save_frozen(self, frozen: dict) -> None:
    """Saves what does not train, unless it is there: in the dtypes that it has now.

    Raises:
      UserError: the folder cannot be written.
    """
    if frozen and not self._frozen.exists():
      with writing(self._workdir):
        _save_tree(self._frozen, frozen)

  def save(self, step: int, state: TrainState, *, metrics: dict | None) -> None:
    """Saves `state`, which has taken `step` steps; returns while it is written.

    Args:
      step: also the latest, where its metrics are due: these are added.
      state: of that step.
      metrics: what was measured; None where it `is_due` later.

    Raises:
      UserError: a mean recall that is not a number, or a folder that cannot be written:
        this save began in vain, or the one before ended so.
    """
    selection = _selection(metrics or {}, otherwise=0.0)
    if not math.isfinite(selection):
      raise UserError(
        f'Expected a {MEAN_RECALL} that is a number at step {step}; found '
        f'{selection}. Nothing is saved of this step.'
      )
    self.save_frozen(state.frozen)
    metrics = _DUE if metrics is None else metrics
    if step == self.latest_step():
      self._add_metrics(step, metrics)
      return
    with writing(self._workdir):
      self._manager.save(
        step,
        args=ocp.args.Composite(
          trainable=ocp.args.StandardSave(state.trainable),
          rest=ocp.args.StandardSave(_rest(state)),
        ),
        metrics=metrics,
      )

  def wait(self) -> None:
    """Waits until everything is written.

    Raises:
      UserError: the folder cannot be written.
    """
    with writing(self._workdir):
      self._manager.wait_until_finished()

  def restore(self, step: int, abstract: TrainState) -> TrainState:
    """The state after `step` steps.

    Args:
      step: one that was saved.
      abstract: shapes, dtypes and shardings to restore to.

    Raises:
      UserError: files of it are missing, cut or damaged.
    """
    rest = _rest(abstract)
    restored = self._restore(step, trainable=abstract.trainable, rest=rest)
    return TrainState(
      trainable=restored.trainable,
      frozen=_restore_tree(self._frozen, abstract.frozen),
      **{'curriculum': {}} | restored.rest,
    )

  def read_params(self, step: int) -> dict:
    """The parameters of `step`, numpy arrays in f32; nothing is known of them before.

    Raises:
      UserError: files of it are missing, cut or damaged.
    """
    trainable = self._workdir / CHECKPOINT_FOLDER / str(step) / 'trainable'
    with reading(trainable.parent):
      read = _read_tree(trainable)
    if self._frozen.exists():
      with reading(self._frozen):
        read = merge_params(read, _read_tree(self._frozen))
    return read

  def restore_params(self, step: int, abstract: TrainState) -> TrainState:
    """`abstract` with the parameters of `step`; no optimizer state is read."""
    restored = self._restore(step, trainable=abstract.trainable)
    frozen = _restore_tree(self._frozen, abstract.frozen)
    return abstract.replace(trainable=restored.trainable, frozen=frozen)

  def close(self) -> None:
    """Waits as `wait` does, and lets go of the folder."""
    with writing(self._workdir):
      self._manager.close()

  def _add_metrics(self, step: int, metrics: dict) -> None:
    self.wait()
    if jax.process_index() == 0:
      file = self._workdir / CHECKPOINT_FOLDER / str(step) / 'metrics/metrics'
      replace_text(file, json.dumps(metrics))
    multihost.sync_global_processes(f'metrics of step {step}')
    self._manager.reload()

  def _restore(self, step: int, **items) -> ocp.args.Composite:
    items = {name: ocp.args.StandardRestore(item) for name, item in items.items()}
    with reading(self._workdir / CHECKPOINT_FOLDER / str(step)):
      return self._manager.restore(step, args=ocp.args.Composite(**items))


def step_to_read(checkpoints: Checkpoints, *, workdir: pathlib.Path) -> int:
  """The best step of a run.

  Raises:
    UserError: nothing has been saved.
  """
  step = checkpoints.best_step()
  if step is None:
    raise UserError(
      f'Expected a work folder with saved steps; found none in {workdir}. Train first: '
      'python -m harma_jax.main --config=... --workdir=...'
    )
  return step


def abstract_of(state: TrainState) -> TrainState:
  """Shapes, dtypes and shardings of a state."""
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
    state,
  )


def _rest(state: TrainState) -> dict:
  """What goes on beside the parameters; orbax has no place for an empty dict."""
  rest = {'step': state.step, 'optimizer_state': state.optimizer_state}
  return rest | ({'curriculum': state.curriculum} if state.curriculum else {})


def _selection(metrics: dict, *, otherwise: float) -> float:
  return metrics.get(SELECTION, metrics.get(MEAN_RECALL, otherwise))


def _quality(metrics: dict) -> float:
  quality = _selection(metrics, otherwise=-1.0)
  return quality if math.isfinite(quality) else -1.0


def _save_tree(path: pathlib.Path, tree: dict) -> None:
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path, tree)


def _read_tree(path: pathlib.Path) -> dict:
  """A saved tree on the host: what devices wrote it, and how, is no matter."""
  handler = ocp.PyTreeCheckpointHandler()
  as_numpy = ocp.RestoreArgs(restore_type=np.ndarray, dtype=np.float32)
  leaves = jax.tree.map(lambda _: as_numpy, handler.metadata(path).tree)
  with contextlib.closing(ocp.Checkpointer(handler)) as checkpointer:
    return checkpointer.restore(path, restore_args=leaves)


def _restore_tree(path: pathlib.Path, abstract: dict) -> dict:
  if not abstract:
    return {}
  with reading(path), ocp.StandardCheckpointer() as checkpointer:
    return checkpointer.restore(path, abstract)
