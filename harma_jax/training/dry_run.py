"""A rehearsal: everything that a run does, once, in a folder that does not stay."""

import contextlib
import functools
import os
import pathlib
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from harma_jax.building.params import check_init
from harma_jax.building.recipe import Recipe
from harma_jax.building.stages import read_recipes
from harma_jax.building.step import Trainer
from harma_jax.devices.compilation import Memory, gigabytes, memory_of
from harma_jax.devices.mesh import device_bytes
from harma_jax.devices.processes import maximum, of_first
from harma_jax.devices.stop import put_away
from harma_jax.errors import UserError
from harma_jax.evaluation.evaluator import EvaluationSplit, make_encoders
from harma_jax.reporting.tables import print_facts
from harma_jax.rundir.checkpoint import Checkpoints, abstract_of
from harma_jax.rundir.metrics import duration
from harma_jax.rundir.workdir import (
  CHECKPOINT_FOLDER,
  FROZEN_FOLDER,
  check_workdir,
  has_saved,
)
from harma_jax.stepping.step import TrainState
from harma_jax.stepping.stepper import Step, place_group
from harma_jax.training.data import RunData, batches_of, read_data
from harma_jax.training.folder import open_folder
from harma_jax.training.plan import Plan, make_plan
from harma_jax.training.screen import facts_of_run
from harma_jax.training.state import start_state, stepper_of

REMOVING = 1.0  # seconds that the folder of a rehearsal may take


def dry_run(config: ConfigDict, *, workdir: pathlib.Path) -> None:
  """Does what `train` does up to one step, one evaluation batch and one save.

  The longest captions that the data have are compiled for: they take the most memory.
  What it writes lies beside `workdir` and is removed; `workdir` is only read. Prints a
  table for each stage, from the first of several processes.

  Args:
    config: of the run.
    workdir: a new folder, or that of a started run, which is taken up where it is.

  Raises:
    UserError: what would be one in the run, or a step that does not fit the device.
  """
  recipes = read_recipes(config, workdir=workdir)
  _check_place(workdir)
  with _scratch_beside(workdir) as scratch:
    _rehearse_all(recipes, workdir=workdir, scratch=scratch)
    maximum(0)  # no process still reads what the first removes


def _rehearse_all(
  recipes: dict[pathlib.Path, Recipe],
  *,
  workdir: pathlib.Path,
  scratch: pathlib.Path,
) -> None:
  """Each stage starts from what the one before it has left in `scratch`."""
  init = ''
  for folder, recipe in recipes.items():
    own = scratch / folder.relative_to(workdir)
    facts = _rehearse(recipe, workdir=folder, scratch=own, init=init or recipe.init)
    if jax.process_index() == 0:
      print_facts(f'{folder}: a dry run, of which nothing is kept', facts)
    init = str(own)


def _check_place(workdir: pathlib.Path) -> None:
  if workdir.exists() and not (workdir.is_dir() and os.access(workdir, os.W_OK)):
    raise UserError(
      f'Expected a work folder that can be written; found {workdir}. '
      'Give another --workdir.'
    )


@contextlib.contextmanager
def _scratch_beside(workdir: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder on the disk of `workdir`, removed at the end; whoever writes makes it."""
  parent = next(folder for folder in workdir.resolve().parents if folder.is_dir())
  name = of_first(np.frombuffer(secrets.token_bytes(4), np.uint8)).tobytes().hex()
  scratch = parent / f'.{workdir.name}-dry-run-{name}'

  def remove():
    # A checkpoint that is being written beside may put more into it.
    deadline = time.monotonic() + REMOVING
    while jax.process_index() == 0 and scratch.exists():
      shutil.rmtree(scratch, ignore_errors=True)
      if time.monotonic() > deadline:
        return

  with put_away(remove):
    yield scratch


def _rehearse(
  recipe: Recipe,
  *,
  workdir: pathlib.Path,
  scratch: pathlib.Path,
  init: str,
) -> dict[str, str]:
  """Each act of a stage in turn, and what is to be said of it."""
  mesh = recipe.mesh
  data = read_data(recipe.data)
  plan = make_plan(recipe.pace, table=data.table)
  if not has_saved(workdir):
    check_init(init)
  with open_folder(recipe, workdir=scratch, data=data, plan=plan) as folder:
    check_workdir(workdir, recipe.config, data=data.fingerprints)
    trainer = recipe.trainer(total_steps=plan.total)
    with _saved_in(workdir, otherwise=folder.checkpoints) as saved:
      latest = saved.latest_step()
      state = start_state(
        trainer,
        checkpoints=saved,
        starting_params=functools.partial(recipe.starting_params, init=init),
        n_captions=data.table.n_captions,
        total_steps=plan.total,
        mesh=mesh,
      )
    facts = facts_of_run(recipe, state, data=data, plan=plan)
    facts['starts from'] = _in_words(init, workdir=workdir, scratch=scratch)
    if latest is not None:
      facts['starts from'] = f'step {latest}, where {workdir} goes on'
    first = int(state.step)
    spent = Spent()
    if plan.total:  # else the run only evaluates
      state, stepped, spent = _rehearse_step(
        recipe, state, trainer=trainer, data=data, plan=plan
      )
      facts |= stepped
    encoded = _encode(recipe, state, splits=data.splits)
    if encoded:
      facts['an evaluation batch'] = _encoded_in_words(encoded)
    facts['expected time'] = _time_in_words(plan, spent, encoded=encoded)
    facts['a checkpoint'] = _save_and_restore(folder.checkpoints, state, step=first + 2)
  return facts


class Spent(NamedTuple):
  """Seconds that a step took, and its compilation."""

  step: float = 0.0
  compilation: float = 0.0


def _rehearse_step(
  recipe: Recipe, state: TrainState, *, trainer: Trainer, data: RunData, plan: Plan
) -> tuple[TrainState, dict[str, str], Spent]:
  """Compiles the step for the longest captions and takes it, twice, on one batch."""
  mesh, first = recipe.mesh, int(state.step)
  step_for = stepper_of(trainer, state, data=data, plan=plan, mesh=mesh)
  batches = batches_of(recipe.data, data, last_step=plan.total)
  with contextlib.closing(batches(first_step=min(first, plan.total - 1))) as found:
    group = [next(found)]
  arguments, _ = place_group(group, size=plan.dispatch, mesh=mesh)
  length = recipe.data.longest_length(data.tokens)
  step = step_for(state, *arguments, length=length)
  facts = _facts_of_program(step, length=length)
  state, seconds, loss = _take(step, state, arguments)
  facts['a step'] = f'{seconds:.2f} s, loss {loss:.4f}'
  return state, facts, Spent(seconds, step.compile_seconds)


@contextlib.contextmanager
def _saved_in(
  workdir: pathlib.Path, *, otherwise: Checkpoints
) -> Iterator[Checkpoints]:
  """The checkpoints of `workdir`, to be read, or others where it has no step saved."""
  if not (has_saved(workdir) and (workdir / CHECKPOINT_FOLDER).is_dir()):
    yield otherwise
    return
  with contextlib.closing(Checkpoints(workdir, create=False)) as saved:
    yield saved if saved.latest_step() is not None else otherwise


def _in_words(init: str, *, workdir: pathlib.Path, scratch: pathlib.Path) -> str:
  if init and pathlib.Path(init).is_relative_to(scratch):
    stage = workdir / pathlib.Path(init).relative_to(scratch)
    return f'what {stage} will have learned; here after one step of it'
  return init or 'random weights'


def _facts_of_program(step: Step, *, length: int) -> dict[str, str]:
  memory, available = memory_of(step.program), device_bytes()
  check_memory(memory, available=available)
  of_device = f'; the device has {gigabytes(available)}' if available else ''
  return {
    'compilation': (
      f'{step.compile_seconds:.1f} s, for captions of {length} tokens, the longest'
    ),
    'memory of a device': f'{memory or "not told by the compiler"}{of_device}',
  }


def check_memory(memory: Memory | None, *, available: int | None) -> None:
  """Raises UserError where a step needs more than the `available` bytes of a device."""
  if memory and available and memory.total > available:
    raise UserError(
      f'Expected a step that fits a device of {gigabytes(available)}; found {memory}. '
      'Set --config.train.microbatch=N to run so many pairs of the batch at a time, a '
      'smaller --config.train.batch_size, --config.model.remat=block, another '
      '--config.data.cache, or --config.mesh.fsdp=N to cut the weights over devices.'
    )


def _take(
  step: Step, state: TrainState, arguments: tuple
) -> tuple[TrainState, float, float]:
  """Two steps on one batch: the state after them, the seconds of the second, which
  no longer asks for memory, and the loss of the first.
  """
  state, metrics = jax.block_until_ready(step(state, *arguments))
  begin = time.monotonic()
  state, _ = jax.block_until_ready(step(state, *arguments))
  return state, time.monotonic() - begin, float(metrics['loss'])


def _encode(
  recipe: Recipe, state: TrainState, *, splits: Mapping[str, EvaluationSplit]
) -> dict[str, tuple[int, float, float]]:
  """Encodes the first images and captions of the selecting split, or of any other.

  Returns:
    Of `images` and `captions` how many were encoded, the seconds with the compilation,
    and those that all of the split would take without it; empty without a split.
  """
  split = splits.get(recipe.selected_by) or next(iter(splits.values()), None)
  if split is None:
    return {}
  size = recipe.evaluation_batch
  tokens = split.tokens[:, : split.length]
  encoders = make_encoders(recipe.model, mesh=recipe.mesh, batch_size=size)
  found = {}
  for encode, rows, what in zip(
    encoders, (split.images, tokens), ('images', 'captions'), strict=True
  ):
    begin = time.monotonic()
    n = len(encode(state.params, rows[:size]))
    compiled = time.monotonic()
    encode(state.params, rows[:size])
    seconds = time.monotonic() - compiled
    found[what] = n, compiled - begin, seconds * -(-len(rows) // size)
  return found


def _encoded_in_words(encoded: Mapping[str, tuple]) -> str:
  parts = (f'{n:,} {what} in {took:.1f} s' for what, (n, took, _) in encoded.items())
  return f'{", ".join(parts)}, compilation included'


def _time_in_words(plan: Plan, spent: Spent, *, encoded: Mapping[str, tuple]) -> str:
  """What the whole stage will take, of what was measured here."""
  evaluation = sum(whole for _, _, whole in encoded.values())
  evaluations = plan.total // plan.evaluate_every + 1
  compilation = spent.compilation + sum(took for _, took, _ in encoded.values())
  whole = plan.total * spent.step + evaluations * evaluation + compilation
  return (
    f'{duration(whole)}: {plan.total:,} steps of {spent.step:.2g} s, {evaluations:,} '
    f'evaluations of {duration(evaluation)} without ranking, compilations of '
    f'{duration(compilation)}, more for other lengths of captions'
  )


def _save_and_restore(checkpoints: Checkpoints, state: TrainState, *, step: int) -> str:
  begin = time.monotonic()
  checkpoints.save(step, state, metrics={})
  restored = checkpoints.restore(step, abstract_of(state))
  seconds = time.monotonic() - begin
  if not jax.tree.all(jax.tree.map(_same_bits, state, restored)):
    raise RuntimeError('what was restored differs from what was saved')
  workdir = checkpoints.workdir
  folders = (workdir / CHECKPOINT_FOLDER, workdir / FROZEN_FOLDER)
  files = (path for folder in folders for path in folder.rglob('*') if path.is_file())
  size = gigabytes(sum(path.stat().st_size for path in files))
  return f'saved and restored in {seconds:.1f} s, bit for bit; {size} on the disk'


def _same_bits(array: jax.Array, other: jax.Array) -> bool:
  """Whether this process's parts of two arrays are the same, NaN included."""
  parts = zip(array.addressable_shards, other.addressable_shards, strict=True)
  return all(
    np.asarray(one.data).tobytes() == np.asarray(two.data).tobytes()
    for one, two in parts
  )
