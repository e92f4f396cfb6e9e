"""The loop: restore -> evaluate step 0 -> (evaluate, save, step, log) -> test once.

A checkpoint holds the state before a step, and a batch is a function of the step alone:
a run that stops anywhere goes on as if it had not stopped.
"""

import contextlib
import functools
import itertools
import json
import pathlib
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from harma_jax.building.data import build_inputs
from harma_jax.devices.mesh import place_batch, place_everywhere
from harma_jax.devices.processes import of_first
from harma_jax.devices.stop import Stopped, StopRequest, agreed
from harma_jax.errors import UserError
from harma_jax.evaluation.duplicates import recall_ceiling
from harma_jax.evaluation.evaluator import EvaluationSplit
from harma_jax.evaluation.recall import Recall, chance_recall
from harma_jax.reporting.tables import print_table
from harma_jax.rundir.checkpoint import abstract_of
from harma_jax.rundir.workdir import (
  CONFLICTS_FILE,
  RESULTS_FILE,
  append_rows,
  replace_text,
)
from harma_jax.stepping.nonfinite import describe_samples, make_finite_samples
from harma_jax.stepping.step import TrainState
from harma_jax.stepping.stepper import place_group
from harma_jax.training.run import (
  Run,
  batches_of,
  checked_stages,
  feed,
  prepared,
  start,
)

NOTED = 200  # of the most conflicting captions, at each evaluation


def train(config: ConfigDict, *, workdir: pathlib.Path) -> None:
  """Trains, evaluates and saves; goes on where an earlier start in `workdir` stopped.

  With `config.pretrain`, which holds the fields that differ, and without `config.init`
  another run comes first, in a folder of its own; its best weights are where this one
  starts.

  Args:
    config: as `configs/common.py` lays it out.
    workdir: a new folder, or that of a run with the same config.

  Raises:
    UserError: a mistake in config or data, found before anything is compiled (what is
      wrong with training images that `data.cache=stream` does not keep, when they are
      read).
    Stopped: a signal asked for it; the state is saved.
  """
  init = ''
  for folder, stage in checked_stages(config, workdir=workdir).items():
    _train_stage(stage, workdir=folder, init=init or stage.init)
    init = str(folder)


def _train_stage(config: ConfigDict, *, workdir: pathlib.Path, init: str) -> None:
  with prepared(config, workdir=workdir, init=init) as run, run.log:
    state, step_fn = start(run, init=init)
    state = _loop(run, state, step_fn)
    best = _measure_rest(run, state)
  if jax.process_index() == 0:
    _report(run, best=best)


def _loop(run: Run, state: TrainState, step_fn: Callable) -> TrainState:
  """Evaluates, saves, then draws a batch and takes a step, until all are taken."""
  first, saved = int(state.step), run.checkpoints.latest_step()
  step_for, batches = feed(run, step_fn, first_step=first)
  step, before, unread = first, first - 1, {}
  fail = functools.partial(_fail_if_halted, run, unread=unread)
  with contextlib.closing(batches), StopRequest() as stop:
    while True:
      asked = agreed(stop.signal, step=step, before=before)
      if (run.plan.saves(step) or asked) and step != saved:
        fail(state)
        metrics = {}
        if run.plan.evaluates(step):
          metrics = _evaluate(run, state, step)
          _note_conflicts(run, state, step)
        run.checkpoints.save(step, state, metrics=metrics)
        run.log.start_clock(step)
      if step == run.plan.total:
        run.checkpoints.wait()
        return state
      if asked:
        raise Stopped(asked)
      group = list(itertools.islice(batches, _next_due(run, step) - step))
      arguments, length = place_group(group, size=run.plan.dispatch, mesh=run.mesh)
      take_steps = step_for(state, *arguments, length=length)
      if step == first:
        run.log.start_clock(step)
      state, metrics = take_steps(state, *arguments)
      step, before = step + len(group), step
      unread[step] = {name: metrics[name] for name in ('loss', 'gradient_norm')}
      if run.log.is_due(step):
        fail(state)
      run.log.train(step, metrics)


def _next_due(run: Run, step: int) -> int:
  """The step after `step` before which the host has something to do.

  It depends on the numbers alone: a run that resumes takes the same steps together.
  """
  return next(
    later
    for later in itertools.count(step + 1)
    if later % run.plan.dispatch == 0 or run.plan.saves(later) or run.log.is_due(later)
  )


def _fail_if_halted(run: Run, state: TrainState, *, unread: dict) -> None:
  """Saves the state that a step failed on, and says which; waits for the device.

  Args:
    run: of the state.
    state: after the last step that was asked for.
    unread: loss and gradient norm of the steps since this was called last, of those
      taken at once by the number of the last; emptied.

  Raises:
    UserError: a step has failed; names its number, epoch and samples.
  """
  step = int(state.step)
  if step >= 0:
    unread.clear()
    return
  step = ~step
  if step != run.checkpoints.latest_step():
    run.checkpoints.save(step, state.replace(step=~state.step), metrics={})
  found = ', '.join(
    f'{name.replace("_", " ")} {np.asarray(value).item():g}'
    for name, value in unread[min(last for last in unread if last > step)].items()
  )
  raise UserError(
    f'step {step + 1} of {run.plan.total}, in epoch {step // run.plan.per_epoch + 1}: '
    f'expected a loss and a gradient that are finite; found {found}; '
    f'{_samples(run, state, step=step)}. The state before this step is '
    f'saved in {run.workdir}. Look at these samples, or start anew with a lower '
    '--config.optimizer.learning_rate; with --config.train.on_nonfinite=skip the run '
    'goes on without such steps.'
  )


def _samples(run: Run, state: TrainState, *, step: int) -> str:
  """The samples of a batch whose embeddings by `state` are not finite."""
  batches = batches_of(run, first_step=step, last_step=step + 1)
  with contextlib.closing(batches):
    batch, length = next(batches)
  cut = place_everywhere({'tokens': run.tokens[:, :length]}, mesh=run.mesh)
  resident, side = run.images | cut, run.model.size.image_size
  inputs = build_inputs(run.config, side=side, mesh=run.mesh)
  finite_samples = make_finite_samples(run.model, inputs, mesh=run.mesh)
  found = finite_samples(state.params, resident, place_batch(batch, mesh=run.mesh))
  return describe_samples(run.train_table, *map(np.asarray, found))


def _evaluate(run: Run, state: TrainState, step: int) -> dict:
  """Measures the selecting split and, before the first step, the others too."""
  if step == 0:
    for split in run.splits.values():
      if split is not run.selection:
        _measure(run, state, split, step=0)
  if run.selection is None:
    return {}
  return _measure(run, state, run.selection, step=step)


def _note_conflicts(run: Run, state: TrainState, step: int) -> None:
  """Appends the most conflicting captions so far to `conflicts.jsonl`."""
  if not state.curriculum or jax.process_index():
    return
  account = {name: np.asarray(values) for name, values in state.curriculum.items()}
  seen = account['seen']
  mean = np.where(seen > 0, account['cosine_sum'] / np.maximum(seen, 1), np.inf)
  table = run.train_table
  worst = np.argsort(mean, kind='stable')[: min(NOTED, int((seen > 0).sum()))]
  noted = [
    {
      'step': step,
      'row': int(row),
      'image': str(table.image_path(table.caption_image[row])),
      'caption': table.captions[row],
      'mean_cosine': float(mean[row]),
      'seen': int(seen[row]),
      'dropped': round(float(account['dropped'][row]), 2),
    }
    for row in worst
  ]
  append_rows(run.workdir / CONFLICTS_FILE, noted)


def _measure(
  run: Run, state: TrainState, split: EvaluationSplit, *, step: int
) -> Recall:
  recall = run.evaluate(state.params, split)
  run.log.evaluation(step, split=split.name, recall=recall)
  return recall


def _measure_rest(run: Run, state: TrainState) -> int:
  """Measures the splits that did not select, once, with the selected step's weights."""
  best = run.checkpoints.best_step()
  state = run.checkpoints.restore_params(best, abstract_of(state))
  measured = {(row['step'], row['split']) for row in run.log.evaluations()}
  # Others may see the first process's file late.
  due = of_first(
    np.array([(best, split.name) not in measured for split in run.splits.values()])
  )
  for split, is_due in zip(run.splits.values(), due, strict=True):
    if is_due:
      _measure(run, state, split, step=best)
  return best


def _report(run: Run, *, best: int) -> None:
  """Prints a table for each split and writes `results.json`."""
  rows = run.log.evaluations()
  selected_by = run.selection.name if run.selection else 'nothing: the last step'
  results = {
    'seed': run.config.seed,
    'selected_on': selected_by,
    'best_step': best,
    'steps': run.plan.total,
    'splits': {
      name: _results(split, rows, best=best, total=run.plan.total)
      for name, split in run.splits.items()
    },
  }
  replace_text(run.workdir / RESULTS_FILE, json.dumps(results, indent=2) + '\n')
  for name, measured in results['splits'].items():
    split = run.splits[name]
    print_table(
      f'{split.name}: recall in % of {len(split.images):,} images and '
      f'{len(split.tokens):,} captions, seed {run.config.seed}, weights selected on '
      f'{selected_by}',
      measured,
    )


def _results(
  split: EvaluationSplit, rows: list[dict], *, best: int, total: int
) -> dict[str, Recall]:
  recalls = {row['step']: row for row in rows if row['split'] == split.name}
  named = {
    'chance': chance_recall(split.caption_image, len(split.images)),
    'ceiling': recall_ceiling(split.groups, split.caption_image),
  }
  steps = {'step 0': 0}
  for step, what in ((best, 'selected'), (total, 'last')):
    if step not in steps.values():
      steps[f'step {step}, {what}'] = step
  for name, step in steps.items():
    if step in recalls:
      named[name] = {key: recalls[step][key] for key in named['chance']}
  return named
