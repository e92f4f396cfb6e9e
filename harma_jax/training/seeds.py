"""Several seeds of one config in turn, and what varies between them."""

import json
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from harma_jax.building.batch import fit_batch
from harma_jax.building.check import check_config
from harma_jax.building.params import resolve
from harma_jax.building.stages import stages
from harma_jax.devices.processes import of_first
from harma_jax.errors import UserError
from harma_jax.evaluation.ties import EXPECTED
from harma_jax.reporting.spread import summarize
from harma_jax.reporting.tables import print_table, with_ties
from harma_jax.rundir.results import read_results
from harma_jax.rundir.seeds import SEEDS_FILE, name_of
from harma_jax.rundir.workdir import (
  PRETRAIN,
  check_workdir,
  has_saved,
  is_workdir,
  read_config,
  replace_text,
)
from harma_jax.training.loop import train


def parse_seeds(words: Sequence[str]) -> list[int]:
  """The seeds of `--seeds=0,1,2`.

  Raises:
    UserError: they are no different whole numbers from 0 on.
  """
  seeds = [int(word) for word in words if word.isdecimal()]
  if not seeds or len(set(seeds)) < len(words):
    raise UserError(
      '--seeds: expected different whole numbers from 0 on, as in 0,1,2; found '
      f'{",".join(words) or "none"}.'
    )
  return seeds


def train_seeds(
  config: ConfigDict,
  *,
  workdir: pathlib.Path,
  seeds: Sequence[int],
  trackers: Sequence[str] = (),
) -> None:
  """Trains every seed, writes `seeds.json` and prints means and deviations.

  A run that has finished is not started again, one that was stopped goes on.

  Args:
    config: as `train` takes it; its own seed is that of a pretraining.
    workdir: a folder, for a folder of each seed and of the pretraining.
    seeds: different ones.
    trackers: as `train` takes them.

  Raises:
    UserError, Stopped: as `train` does; also where `workdir` is the folder of a run.
  """
  if has_saved(workdir):
    raise UserError(
      f'--seeds: expected a folder for several runs; {workdir} is that of one. '
      'Give another --workdir.'
    )
  runs = runs_of_seeds(config, workdir=workdir, seeds=seeds)
  runs = {
    folder: fit_batch(run, count=jax.device_count()) for folder, run in runs.items()
  }
  for folder, run in runs.items():
    check_config(run)
    check_workdir(folder, run, may_go_on=folder != workdir / PRETRAIN)
  finished = [
    has_finished(folder, epochs=run.train.epochs) for folder, run in runs.items()
  ]
  # Others may see the first process's files late.
  for (folder, run), is_finished in zip(
    runs.items(), of_first(np.array(finished)), strict=True
  ):
    logging.info('%s: %s', folder, 'has finished' if is_finished else 'trains')
    if not is_finished:
      train(run, workdir=folder, trackers=trackers)
  if jax.process_index() == 0:
    _report([workdir / name_of(seed) for seed in seeds], workdir=workdir, seeds=seeds)


def has_finished(folder: pathlib.Path, *, epochs: float) -> bool:
  """Whether a folder holds a run that has ended, and was to have so many epochs."""
  return (
    is_workdir(folder)
    and read_config(folder).train.epochs == epochs
    and bool(read_results(folder))
  )


def runs_of_seeds(
  config: ConfigDict, *, workdir: pathlib.Path, seeds: Sequence[int]
) -> dict[pathlib.Path, ConfigDict]:
  """The config of each folder, in the order in which they train.

  A pretraining is done once, with the config's own seed, and all seeds start from it:
  they differ by what happens in adaptation alone. With `init` there is none, and all
  start from that.
  """
  config = resolve(config, workdir=workdir / name_of(seeds[0]))
  runs = stages(config, workdir=workdir)
  last = runs.pop(workdir)
  for seed in seeds:
    run = last.copy_and_resolve_references()
    run.seed = seed
    if workdir / PRETRAIN in runs:
      run.init = str(workdir / PRETRAIN)
      with run.unlocked():
        del run[PRETRAIN]
    runs[workdir / name_of(seed)] = run.lock()
  return runs


def _report(
  folders: Sequence[pathlib.Path], *, workdir: pathlib.Path, seeds: Sequence[int]
) -> None:
  """Writes `seeds.json` and prints a table for each split."""
  results = [read_results(folder) for folder in folders]
  summary = summarize(results)
  content = {'seeds': list(seeds), 'splits': summary}
  replace_text(workdir / SEEDS_FILE, json.dumps(content, indent=2) + '\n')
  for split, rows in summary.items():
    lines = {
      f'{name}, {what}': recall
      for name, spread in rows.items()
      for what, recall in spread.items()
      if what == 'mean' or any(recall.values())
    }
    numbers = ', '.join(map(str, seeds))
    print_table(
      f'{split}: recall in % over the seeds {numbers}, ties against the model',
      with_ties(lines, kinds=[EXPECTED]),
    )
