"""What a run is made of: its stages, data, folder, state and compiled step."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.building.check import check_config
from harma_jax.building.data import (
  build_batches,
  build_inputs,
  build_pixels,
  build_table,
  build_tokens,
  caption_lengths,
  check_root,
  distinct_images,
  place_images,
)
from harma_jax.building.evaluation import build_evaluation_split
from harma_jax.building.model import build_model, frozen_dtype, with_fastest_attention
from harma_jax.building.params import build_params, check_init, resolve_size
from harma_jax.building.step import (
  build_optimizer,
  build_state,
  build_step,
  state_shapes,
)
from harma_jax.data.annotations import CaptionTable, fingerprint
from harma_jax.data.pixels import PixelStore
from harma_jax.data.sampler import steps_per_epoch
from harma_jax.devices.mesh import make_mesh, tree_shardings
from harma_jax.devices.processes import agree, code_version
from harma_jax.errors import UserError
from harma_jax.evaluation.evaluator import EvaluationSplit, Evaluator, make_evaluator
from harma_jax.model.clip import Clip
from harma_jax.rundir.checkpoint import Checkpoints
from harma_jax.rundir.metrics import RunLog, drop_rows_after
from harma_jax.rundir.workdir import (
  CONFLICTS_FILE,
  METRICS_FILE,
  PRETRAIN,
  PROVENANCE_FILE,
  check_workdir,
  claim,
  flat,
  has_saved,
  held,
  replace_text,
)
from harma_jax.stepping.optim import count
from harma_jax.stepping.step import TrainState, cast_frozen, compile_step, place_state
from harma_jax.stepping.stepper import make_stepper


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """When things are due, in steps.

  Attributes:
    total: steps of the run.
    per_epoch: steps of an epoch.
    evaluate_every: an evaluation, and a checkpoint with what it measured.
    save_every: further checkpoints; 0 for none.
    dispatch: how many steps are taken at once, where nothing is due between.
    n_distinct: places for images in a batch; see `train_batches`.
  """

  total: int
  per_epoch: int
  evaluate_every: int
  save_every: int
  dispatch: int
  n_distinct: int

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


@contextlib.contextmanager
def prepared(config: ConfigDict, *, workdir: pathlib.Path, init: str) -> Iterator[Run]:
  """Reads the data, which finds what is wrong with it, and takes the folder."""
  model = with_fastest_attention(config, build_model(config))
  mesh = make_mesh(fsdp=config.mesh.fsdp)
  tables = _read_tables(config)
  plan = _make_plan(config, table=tables['train'], mesh=mesh)
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
    contextlib.closing(
      Checkpoints(
        workdir, keep=config.checkpoint.keep, keep_every=config.checkpoint.keep_every
      )
    ) as found,
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


def _make_plan(config: ConfigDict, *, table: CaptionTable, mesh: Mesh) -> Plan:
  several = config.data.captions_per_image > 1
  items = table.n_images if several else table.n_captions
  per_epoch = steps_per_epoch(items, batch_size=config.train.batch_size)
  epochs = config.train.epochs
  total = max(round(epochs * per_epoch), 1) if epochs else 0
  return Plan(
    total=total,
    per_epoch=per_epoch,
    evaluate_every=max(round(config.evaluation.every_epochs * per_epoch), 1),
    save_every=config.checkpoint.every_steps,
    dispatch=config.train.steps_per_dispatch,
    n_distinct=distinct_images(config, table, last_step=total, mesh=mesh),
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


def feed(run: Run, step_fn: Callable, *, first_step: int) -> tuple[Callable, Iterator]:
  """`step_for` of `make_stepper`, and the batches from `first_step` to the end."""
  step_for = make_stepper(step_fn, tokens=run.tokens, images=run.images, mesh=run.mesh)
  return step_for, batches_of(run, first_step=first_step, last_step=run.plan.total)


def batches_of(run: Run, *, first_step: int, last_step: int) -> Iterator:
  return build_batches(
    run.config,
    run.train_table,
    run.tokens,
    pixels=run.pixels,
    lengths=caption_lengths(run.config, run.model),
    n_distinct=run.plan.n_distinct,
    first_step=first_step,
    last_step=last_step,
  )
