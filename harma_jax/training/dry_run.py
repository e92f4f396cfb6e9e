"""A rehearsal: everything that a run does, once, in a folder that does not stay."""

import contextlib
import dataclasses
import os
import pathlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from ml_collections import ConfigDict

from harma_jax.building.data import longest_length
from harma_jax.devices.compilation import Memory, gigabytes, memory_of
from harma_jax.devices.mesh import device_bytes, layout_of
from harma_jax.devices.processes import maximum, of_first
from harma_jax.devices.stop import interruptible
from harma_jax.errors import UserError
from harma_jax.evaluation.evaluator import make_encoders
from harma_jax.reporting.tables import print_facts
from harma_jax.rundir.checkpoint import Checkpoints, abstract_of
from harma_jax.rundir.workdir import (
  CHECKPOINT_FOLDER,
  FROZEN_FOLDER,
  check_workdir,
  has_saved,
)
from harma_jax.stepping.optim import count
from harma_jax.stepping.step import TrainState
from harma_jax.stepping.stepper import Step, place_group
from harma_jax.training.run import Run, checked_stages, feed, prepared, start

INTERRUPTED = 'Interrupted. Nothing is left of the dry run.'


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
  with interruptible(INTERRUPTED) as check:
    runs = checked_stages(config, workdir=workdir)
    _check_place(workdir)
    with _scratch_beside(workdir) as scratch:
      _rehearse_all(runs, workdir=workdir, scratch=scratch, check=check)
      maximum(0)  # no process still reads what the first removes


def _rehearse_all(
  runs: dict[pathlib.Path, ConfigDict],
  *,
  workdir: pathlib.Path,
  scratch: pathlib.Path,
  check: Callable[[], None],
) -> None:
  """Each stage starts from what the one before it has left in `scratch`."""
  init = ''
  for folder, stage in runs.items():
    own = scratch / folder.relative_to(workdir)
    facts = _rehearse(
      stage, workdir=folder, scratch=own, init=init or stage.init, check=check
    )
    check()
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
  try:
    yield scratch
  finally:
    if jax.process_index() == 0:
      shutil.rmtree(scratch, ignore_errors=True)


def _rehearse(
  config: ConfigDict,
  *,
  workdir: pathlib.Path,
  scratch: pathlib.Path,
  init: str,
  check: Callable[[], None],
) -> dict[str, str]:
  """Each act of a stage in turn, with `check` between, and what is to be said of it."""
  to_open = '' if has_saved(workdir) else init
  with prepared(config, workdir=scratch, init=to_open) as run:
    check_workdir(workdir, config, data=run.data)
    with _where_it_starts(run, workdir) as origin:
      latest = origin.checkpoints.latest_step()
      state, step_fn = start(origin, init=init)
    facts = _facts_of_run(run, state)
    facts['starts from'] = _in_words(init, workdir=workdir, scratch=scratch)
    if latest is not None:
      facts['starts from'] = f'step {latest}, where {workdir} goes on'
    first = int(state.step)
    step_for, batches = feed(run, step_fn, first_step=min(first, run.plan.total - 1))
    with contextlib.closing(batches):
      group = [next(batches)]
    arguments, _ = place_group(group, size=run.plan.dispatch, mesh=run.mesh)
    length = longest_length(config, run.model, run.tokens)
    check()
    step = step_for(state, *arguments, length=length)
    facts |= _facts_of_program(step, length=length)
    check()
    state, facts['a step'] = _take(step, state, arguments)
    check()
    facts |= _encode(run, state)
    check()
    facts['a checkpoint'] = _save_and_restore(run, state, step=first + 1)
  return facts


@contextlib.contextmanager
def _where_it_starts(run: Run, workdir: pathlib.Path) -> Iterator[Run]:
  """`run` with the checkpoints of `workdir`, to be read, where it has any."""
  if not (has_saved(workdir) and (workdir / CHECKPOINT_FOLDER).is_dir()):
    yield run
    return
  with contextlib.closing(Checkpoints(workdir, create=False)) as saved:
    yield dataclasses.replace(run, checkpoints=saved)


def _in_words(init: str, *, workdir: pathlib.Path, scratch: pathlib.Path) -> str:
  if init and pathlib.Path(init).is_relative_to(scratch):
    stage = workdir / pathlib.Path(init).relative_to(scratch)
    return f'what {stage} will have learned; here after one step of it'
  return init or 'random weights'


def _facts_of_run(run: Run, state: TrainState) -> dict[str, str]:
  table, plan, mesh = run.train_table, run.plan, run.mesh
  size = run.config.train.batch_size
  data = [f'train: {table.n_images:,} images, {table.n_captions:,} captions']
  for name, split in run.splits.items():
    data.append(f'{name}: {len(split.images):,} images, {len(split.tokens):,} captions')
  return {
    'devices': f'{mesh.size} {jax.devices()[0].device_kind}, {layout_of(mesh)}',
    'data': f'{"; ".join(data)}; data.cache={run.cache}',
    'parameters': (
      f'{count(state.trainable):,} trainable, {count(state.frozen):,} frozen'
    ),
    'batch': f'{size:,}, {size // mesh.size:,} a device',
    'steps': (
      f'{plan.per_epoch:,} an epoch, {plan.total:,} in all; evaluation every '
      f'{plan.evaluate_every:,}'
    ),
  }


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
      'Set a smaller --config.train.batch_size, --config.model.remat=block, another '
      '--config.data.cache, or --config.mesh.fsdp=N to cut the weights over devices.'
    )


def _take(step: Step, state: TrainState, arguments: tuple) -> tuple[TrainState, str]:
  begin = time.monotonic()
  state, metrics = jax.block_until_ready(step(state, *arguments))
  seconds = time.monotonic() - begin
  return state, f'{seconds:.2f} s, loss {float(metrics["loss"]):.4f}'


def _encode(run: Run, state: TrainState) -> dict[str, str]:
  """The first images and captions of the selecting split, or of any other."""
  split = run.selection or next(iter(run.splits.values()), None)
  if split is None:
    return {}
  size = run.config.evaluation.batch_size
  tokens = split.tokens[:, : split.length]
  encoders = make_encoders(run.model, mesh=run.mesh, batch_size=size)
  parts = []
  for encode, rows, what in zip(
    encoders, (split.images, tokens), ('images', 'captions'), strict=True
  ):
    begin = time.monotonic()
    n = len(encode(state.params, rows[:size]))
    parts.append(f'{n:,} {what} in {time.monotonic() - begin:.1f} s')
  return {'an evaluation batch': f'{", ".join(parts)}, compilation included'}


def _save_and_restore(run: Run, state: TrainState, *, step: int) -> str:
  begin = time.monotonic()
  run.checkpoints.save(step, state, metrics={})
  restored = run.checkpoints.restore(step, abstract_of(state))
  seconds = time.monotonic() - begin
  if not jax.tree.all(jax.tree.map(_same_bits, state, restored)):
    raise RuntimeError('what was restored differs from what was saved')
  folders = (run.workdir / CHECKPOINT_FOLDER, run.workdir / FROZEN_FOLDER)
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
