"""The loop: restore -> evaluate step 0 -> (evaluate, save, step, log) -> test once.

A checkpoint holds the state before a step, and a batch is a function of the step alone:
a run that stops anywhere goes on as if it had not stopped.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Callable, Iterator

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.build import (
  build_batches,
  build_evaluation_split,
  build_inputs,
  build_model,
  build_optimizer,
  build_params,
  build_pixels,
  build_state,
  build_step,
  build_table,
  build_tokens,
  caption_lengths,
  check_init,
  check_root,
  frozen_dtype,
  place_images,
  resolve_size,
  state_shapes,
  with_fastest_attention,
)
from harma_jax.check import check_config
from harma_jax.checkpoint import Checkpoints, abstract_of
from harma_jax.data.annotations import CaptionTable, fingerprint
from harma_jax.data.pixels import PixelStore
from harma_jax.data.sampler import steps_per_epoch
from harma_jax.errors import UserError
from harma_jax.evaluation.duplicates import recall_ceiling
from harma_jax.evaluation.evaluator import EvaluationSplit, Evaluator, make_evaluator
from harma_jax.evaluation.recall import Recall, chance_recall
from harma_jax.mesh import make_mesh, place_batch, place_everywhere, tree_shardings
from harma_jax.metrics import RunLog, drop_rows_after, print_table
from harma_jax.model.clip import Clip
from harma_jax.nonfinite import describe_samples, make_finite_samples
from harma_jax.optim import count
from harma_jax.processes import agree, code_version, of_first
from harma_jax.step import TrainState, cast_frozen, compile_step, place_state
from harma_jax.stepper import make_stepper, place_group
from harma_jax.stop import Stopped, StopRequest, agreed
from harma_jax.workdir import (
  CONFLICTS_FILE,
  METRICS_FILE,
  PRETRAIN,
  PROVENANCE_FILE,
  RESULTS_FILE,
  append_rows,
  check_workdir,
  claim,
  flat,
  has_saved,
  held,
  replace_text,
)

NOTED = 200  # of the most conflicting captions, at each evaluation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """When things are due, in steps.

  Attributes:
    total: steps of the run.
    per_epoch: steps of an epoch.
    evaluate_every: an evaluation, and a checkpoint with what it measured.
    save_every: further checkpoints; 0 for none.
    dispatch: how many steps are taken at once, where nothing is due between.
  """

  total: int
  per_epoch: int
  evaluate_every: int
  save_every: int
  dispatch: int

  def evaluates(self, step: int) -> bool:
    """Whether validation is due before step number `step`."""
    return step % self.evaluate_every == 0 or step == self.total

  def saves(self, step: int) -> bool:
    """Whether a checkpoint is due before step number `step`."""
    return self.evaluates(step) or bool(self.save_every and step % self.save_every == 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """What the acts of one run share.

  Attributes:
    data: a fingerprint of each split.
    tokens: i32[n_captions, L], of the training captions.
    pixels: of the training images, or None where the devices hold them.
    images: all training images on the devices, or nothing; see `make_inputs`.
    cache: where they are kept, one of `data.pixels.CACHES`.
    The others are named after what they are.
  """

  config: ConfigDict
  workdir: pathlib.Path
  model: Clip
  mesh: Mesh
  plan: Plan
  data: dict[str, str]
  train_table: CaptionTable
  tokens: np.ndarray
  pixels: PixelStore | None
  images: dict
  cache: str
  checkpoints: Checkpoints
  log: RunLog
  evaluate: Evaluator
  splits: dict[str, EvaluationSplit]

  @property
  def selection(self) -> EvaluationSplit | None:
    """The split whose mean recall picks the weights."""
    return self.splits.get(self.config.evaluation.select_on)


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
      wrong with training images that `data.cache=False` does not keep, when they are
      read).
    Stopped: a signal asked for it; the state is saved.
  """
  init = ''
  for folder, stage in checked_stages(config, workdir=workdir).items():
    _train_stage(stage, workdir=folder, init=init or stage.init)
    init = str(folder)


def checked_stages(
  config: ConfigDict, *, workdir: pathlib.Path
) -> dict[pathlib.Path, ConfigDict]:
  """`stages`, with what can be found wrong before data are read.

  Raises:
    UserError: a mistake in the config; another config in `workdir`; processes that
      differ.
  """
  agree(
    {'code': code_version()}
    | {f'config.{name}': str(value) for name, value in flat(config).items()}
  )
  check_root(config)  # before what may be a long download
  runs = stages(config, workdir=workdir)
  for folder, stage in runs.items():
    check_config(stage)
    check_workdir(folder, stage)
  return runs


def stages(
  config: ConfigDict, *, workdir: pathlib.Path
) -> dict[pathlib.Path, ConfigDict]:
  """The config of each folder, in the order in which they train."""
  config = resolve_size(config, workdir=workdir)
  if PRETRAIN not in config:
    return {workdir: config}
  if config.init:
    logging.info('init=%s takes the place of the pretraining', config.init)
    return {workdir: config}
  first = config.copy_and_resolve_references()
  with first.unlocked():
    del first[PRETRAIN]
  try:
    first.lock().update(config[PRETRAIN])
  except (AttributeError, KeyError, TypeError) as error:
    raise UserError(
      f'pretrain: expected fields of the config, with values of their types; {error}.'
    ) from error
  return {workdir / PRETRAIN: first, workdir: config}


def _train_stage(config: ConfigDict, *, workdir: pathlib.Path, init: str) -> None:
  with prepared(config, workdir=workdir, init=init) as run, run.log:
    state, step_fn = start(run, init=init)
    state = _loop(run, state, step_fn)
    best = _measure_rest(run, state)
  if jax.process_index() == 0:
    _report(run, best=best)


@contextlib.contextmanager
def prepared(config: ConfigDict, *, workdir: pathlib.Path, init: str) -> Iterator[Run]:
  """Reads the data, which finds what is wrong with it, and takes the folder."""
  model = with_fastest_attention(config, build_model(config))
  mesh = make_mesh(fsdp=config.mesh.fsdp)
  tables = _read_tables(config)
  plan = _make_plan(config, table=tables['train'])
  splits = {
    name: build_evaluation_split(config, table, model)
    for name, table in tables.items()
    if name != 'train'
  }
  pixels, cache = build_pixels(config, tables['train'])
  on_device = cache == 'device'
  images = place_images(config, pixels, mesh=mesh) if on_device else {}
  if not has_saved(workdir):
    check_init(init)
  prints = {name: fingerprint(table) for name, table in tables.items()}
  agree({f'data of {name}': value for name, value in prints.items()})
  with _opened(config, workdir=workdir, data=prints, plan=plan) as (checkpoints, log):
    yield Run(
      config=config,
      workdir=workdir,
      model=model,
      mesh=mesh,
      plan=plan,
      data=prints,
      train_table=tables['train'],
      tokens=build_tokens(config, tables['train'], model),
      pixels=None if on_device else pixels,
      images=images,
      cache=cache,
      checkpoints=checkpoints,
      log=log,
      evaluate=make_evaluator(
        model, mesh=mesh, batch_size=config.evaluation.batch_size
      ),
      splits=splits,
    )


@contextlib.contextmanager
def _opened(
  config: ConfigDict, *, workdir: pathlib.Path, data: dict[str, str], plan: Plan
) -> Iterator[tuple[Checkpoints, RunLog]]:
  """Takes the folder for this run alone, with what an earlier start left in it."""
  is_first = jax.process_index() == 0
  claim(workdir, config, data=data, write=is_first)
  with (
    held(workdir, hold=is_first),
    contextlib.closing(Checkpoints(workdir, keep=config.checkpoint.keep)) as found,
  ):
    last_saved = found.latest_step()
    agree({f'last step saved in {workdir}': str(last_saved)})
    if is_first and (workdir / CONFLICTS_FILE).exists():
      drop_rows_after(workdir / CONFLICTS_FILE, last_saved)
    log = RunLog(
      workdir / METRICS_FILE,
      last_saved=last_saved,
      total_steps=plan.total,
      steps_per_epoch=plan.per_epoch,
      batch_size=config.train.batch_size * config.data.captions_per_image,
      log_every=config.log_every,
    )
    yield found, log


def _read_tables(config: ConfigDict) -> dict[str, CaptionTable]:
  """The tables of `train`, `val` and `test`; the last two only where they are named."""
  names = {
    'train': config.data.train_split,
    'val': config.data.val_split,
    'test': config.data.test_split,
  }
  if config.evaluation.select_on == 'test':
    logging.warning(
      'evaluation.select_on=test: the checkpoint is CHOSEN ON THE TEST SPLIT. Its test '
      'recall is biased upwards and comparable only to numbers chosen the same way.'
    )
  return {name: build_table(config, split) for name, split in names.items() if split}


def _make_plan(config: ConfigDict, *, table: CaptionTable) -> Plan:
  several = config.data.captions_per_image > 1
  items = table.n_images if several else table.n_captions
  per_epoch = steps_per_epoch(items, batch_size=config.train.batch_size)
  epochs = config.train.epochs
  return Plan(
    total=max(round(epochs * per_epoch), 1) if epochs else 0,
    per_epoch=per_epoch,
    evaluate_every=max(round(config.evaluation.every_epochs * per_epoch), 1),
    save_every=config.checkpoint.every_steps,
    dispatch=config.train.steps_per_dispatch,
  )


def start(run: Run, *, init: str) -> tuple[TrainState, Callable]:
  """The state to go on from, and the compiled step."""
  total = run.plan.total
  optimizer, schedule = build_optimizer(run.config, total_steps=total)
  step_fn = build_step(run.config, run.model, optimizer, schedule, total_steps=total)
  latest = run.checkpoints.latest_step()
  if latest is None:
    params, record = build_params(run.config, run.model, init=init)
    if jax.process_index() == 0:
      replace_text(run.workdir / PROVENANCE_FILE, json.dumps(record, indent=2) + '\n')
    n_captions = run.train_table.n_captions
    state = build_state(run.config, params, optimizer, n_captions=n_captions)
    state = place_state(state, mesh=run.mesh)
    run.checkpoints.save_frozen(state.frozen)  # as they came, for exports
    state = cast_frozen(state, frozen_dtype(run.config))
  else:
    state = run.checkpoints.restore(latest, _abstract_state(run, optimizer))
    logging.info('resuming after step %d of %d', latest, run.plan.total)
  trainable = count(state.trainable) if total else 0  # without a step nothing trains
  logging.info(
    'devices: %d %s, trainable parameters: %s of %s',
    *(run.mesh.size, jax.devices()[0].platform),
    *(f'{trainable:,}', f'{count(state.params):,}'),
  )
  side = run.model.size.image_size
  inputs = build_inputs(run.config, side=side, mesh=run.mesh)
  several = run.plan.dispatch > 1
  step = compile_step(step_fn, state, mesh=run.mesh, inputs=inputs, several=several)
  return state, step


def _abstract_state(run: Run, optimizer) -> TrainState:
  n_captions = run.train_table.n_captions
  shapes = state_shapes(run.config, run.model, optimizer, n_captions=n_captions)
  shapes = cast_frozen(shapes, frozen_dtype(run.config))
  shardings = tree_shardings(shapes, mesh=run.mesh)
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    shapes,
    shardings,
  )


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
  batches = _batches(run, first_step=step, last_step=step + 1)
  with contextlib.closing(batches):
    batch, length = next(batches)
  cut = place_everywhere({'tokens': run.tokens[:, :length]}, mesh=run.mesh)
  resident, side = run.images | cut, run.model.size.image_size
  inputs = build_inputs(run.config, side=side, mesh=run.mesh)
  finite_samples = make_finite_samples(run.model, inputs, mesh=run.mesh)
  found = finite_samples(state.params, resident, place_batch(batch, mesh=run.mesh))
  return describe_samples(run.train_table, *map(np.asarray, found))


def feed(run: Run, step_fn: Callable, *, first_step: int) -> tuple[Callable, Iterator]:
  """`step_for` of `make_stepper`, and the batches from `first_step` to the end."""
  step_for = make_stepper(step_fn, tokens=run.tokens, images=run.images, mesh=run.mesh)
  return step_for, _batches(run, first_step=first_step, last_step=run.plan.total)


def _batches(run: Run, *, first_step: int, last_step: int) -> Iterator:
  return build_batches(
    run.config,
    run.train_table,
    run.tokens,
    pixels=run.pixels,
    lengths=caption_lengths(run.config, run.model),
    first_step=first_step,
    last_step=last_step,
  )


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
