"""A run from its config to its results; the acts of a stage stand in their order.

A checkpoint holds the state before a step, and a batch is a function of the step alone:
a run that stops anywhere goes on as if it had not stopped.
"""

import contextlib
import functools
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.building.params import check_init
from harma_jax.building.recipe import Recipe
from harma_jax.building.stages import read_recipes
from harma_jax.devices.processes import agreed
from harma_jax.devices.stop import Stopped, StopRequest
from harma_jax.rundir.folder import RunFolder
from harma_jax.rundir.metrics import EVALUATING
from harma_jax.rundir.workdir import has_saved
from harma_jax.stepping.step import TrainState
from harma_jax.stepping.stepper import at_once, place_group
from harma_jax.tracking.session import tracked
from harma_jax.training.data import batches_of, read_data
from harma_jax.training.failure import fail_if_halted, make_describe
from harma_jax.training.folder import open_folder
from harma_jax.training.measuring import make_measure, measure_selected, report_results
from harma_jax.training.plan import Plan, make_plan
from harma_jax.training.screen import Ended, Place, say_end, say_start
from harma_jax.training.state import start_state, stepper_of


def train(
  config: ConfigDict, *, workdir: pathlib.Path, trackers: Sequence[str] = ()
) -> None:
  """Trains, evaluates and saves; goes on where an earlier start in `workdir` stopped.

  With `config.pretrain`, which holds the fields that differ, and without `config.init`
  another run comes first, in a folder of its own; its best weights are where this one
  starts.

  Args:
    config: as `configs/common.py` lays it out.
    workdir: a new folder, or that of a run with the same config.
    trackers: that hear of the run, of `tracking.kinds.KINDS`.

  Raises:
    UserError: a mistake in config or data, found before anything is compiled (what is
      wrong with training images that `data.cache=stream` does not keep, when they are
      read).
    Stopped: a signal asked for it; the state is saved.
  """
  began = time.monotonic()
  recipes = read_recipes(config, workdir=workdir)
  init, ended = '', Ended(best=0, total=0)
  for number, (folder, recipe) in enumerate(recipes.items(), start=1):
    place, init = Place(number, len(recipes)), init or recipe.init
    ended = train_stage(
      recipe, workdir=folder, init=init, place=place, trackers=trackers
    )
    init = str(folder)
  say_end(workdir, ended, seconds=time.monotonic() - began)


def train_stage(
  recipe: Recipe,
  *,
  workdir: pathlib.Path,
  init: str,
  place: Place,
  trackers: Sequence[str] = (),
) -> Ended:
  """One stage of a run in its folder, from the weights `init`; '' for random ones."""
  mesh = recipe.mesh
  data = read_data(recipe.data)
  plan = make_plan(recipe.pace, table=data.table)
  if not has_saved(workdir):
    check_init(init)
  with (
    open_folder(recipe, workdir=workdir, data=data, plan=plan) as folder,
    tracked(trackers, folder, config=recipe.config) as tracking,
  ):
    with folder.log:
      trainer = recipe.trainer(total_steps=plan.total)
      state = start_state(
        trainer,
        checkpoints=folder.checkpoints,
        starting_params=functools.partial(recipe.starting_params, init=init),
        n_captions=data.table.n_captions,
        total_steps=plan.total,
        mesh=mesh,
      )
      say_start(recipe, state, place=place, folder=workdir, data=data, plan=plan)
      step_for = stepper_of(trainer, state, data=data, plan=plan, mesh=mesh)
      batches = batches_of(recipe.data, data, last_step=plan.total)
      state = take_steps(
        state,
        step_for,
        batches(first_step=int(state.step)),
        plan=plan,
        mesh=mesh,
        folder=folder,
        measure=make_measure(
          evaluate=recipe.evaluate,
          splits=data.splits,
          selected_by=recipe.selected_by,
          selector=recipe.selector,
          table=data.table,
          folder=folder,
        ),
        describe=make_describe(
          batches=batches, data=data, trainer=trainer, model=recipe.model, mesh=mesh
        ),
      )
      best = measure_selected(
        state, evaluate=recipe.evaluate, splits=data.splits, folder=folder
      )
    if jax.process_index() == 0:
      results = report_results(
        best=best,
        total_steps=plan.total,
        seed=recipe.seed,
        splits=data.splits,
        selected_by=recipe.selected_by,
        folder=folder,
        stage=place.of(recipe.data_words) if place.stages > 1 else '',
      )
      tracking.conclude(results)
  return Ended(best=best, total=plan.total)


def take_steps(
  state: TrainState,
  step_for: Callable,
  batches: Iterator[tuple[dict, int]],
  *,
  plan: Plan,
  mesh: Mesh,
  folder: RunFolder,
  measure: Callable[..., dict | None],
  describe: Callable[[dict, int], str],
) -> TrainState:
  """Measures, saves, then draws a batch and takes a step, until all are taken.

  Args:
    state: to go on from.
    step_for: of `make_stepper`.
    batches: with the lengths of their captions, from the state's step on; closed.
    plan: when what is due.
    mesh: of all devices.
    folder: of the run.
    measure: of `make_measure`, whose metrics are saved with the state.
    describe: the samples of a step; see `fail_if_halted`.

  Raises:
    UserError: a step that is not finite; a folder that cannot be written.
    Stopped: a signal asked for it; the state is saved.
  """
  checkpoints, log = folder.checkpoints, folder.log
  first, unread = int(state.step), {}
  # What a stop left to be measured comes first now.
  saved = None if checkpoints.is_due(first) else checkpoints.latest_step()
  step, before = first, first - 1
  fail = functools.partial(
    fail_if_halted, unread=unread, plan=plan, folder=folder, describe=describe
  )
  with contextlib.closing(batches), StopRequest() as stop:
    # Of several none leaves a compilation alone: they agree between steps.
    wait = stop.unless_asked if jax.process_count() == 1 else at_once
    while True:
      asked = agreed(stop.signal, step=step, before=before)
      if (plan.saves(step) or asked) and step != saved:
        fail(state)
        metrics = {}
        if plan.evaluates(step):
          with log.busy(EVALUATING):
            metrics = measure(state, step, wait=wait)
        checkpoints.save(step, state, metrics=metrics)
        saved, asked = step, stop.signal if metrics is None else asked
        log.start_clock(step)
      if asked or step == plan.total:
        checkpoints.wait()
      if asked:
        raise Stopped(asked)
      if step == plan.total:
        return state
      group = list(itertools.islice(batches, plan.next_due(step) - step))
      arguments, length = place_group(group, size=plan.dispatch, mesh=mesh)
      advance = step_for(
        state,
        *arguments,
        length=length,
        wait=log.during(f'compiling the step for captions of {length} tokens', wait),
      )
      if advance is None:
        continue
      state, metrics = advance(state, *arguments)
      step, before = step + len(group), step
      unread[step] = {name: metrics[name] for name in ('loss', 'gradient_norm')}
      if plan.logs(step):
        fail(state)
      log.train(step, metrics)
