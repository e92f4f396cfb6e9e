"""Differences between the selected weights of two methods on the same queries."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from harma_jax.building.data import build_table
from harma_jax.building.evaluation import build_evaluation_split, build_features
from harma_jax.building.model import build_model
from harma_jax.building.params import read_workdir
from harma_jax.data.annotations import CaptionTable, fingerprint
from harma_jax.errors import UserError
from harma_jax.evaluation.bootstrap import recall_differences
from harma_jax.evaluation.duplicates import duplicate_aware_ranks
from harma_jax.evaluation.ranks import count_not_below, retrieval_ranks_of
from harma_jax.evaluation.recall import Ranks, recall_of_ranks
from harma_jax.evaluation.seed_test import seed_test
from harma_jax.rundir.seeds import runs_in
from harma_jax.rundir.workdir import read_config

# How identical captions count, and what the numbers are called.
KINDS = {
  'standard': 'recall, ties against the model',
  'duplicate_aware': 'recall, identical captions right',
}


def runs_of(folders: Sequence[str]) -> list[str]:
  """The work folders of runs, a folder of several seeds taken as these.

  Raises:
    UserError: a seed of such a folder has not finished.
  """
  return [str(run) for folder in folders for run in runs_in(folder)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """A work folder and its config."""

  folder: str
  config: ConfigDict


def compare(
  first: Sequence[str],
  second: Sequence[str],
  *,
  splits: Sequence[str] | None = None,
  data_root: str | None = None,
) -> dict:
  """Differences in recall, second less first, with intervals and tests.

  Args:
    first: work folders of runs of one method; several have different seeds.
    second: of the other; several have the seeds of `first`.
    splits: by default those that every run names as `data.val_split` or `test_split`.
    data_root: where the data set is now, by default where it was in training.

  Returns:
    `runs` and `seeds` of both sides, and `splits`: of each split, under `standard` and
    `duplicate_aware`, the rows of `recall_differences` by recall. With several runs a
    side each row has `over_seeds`, of `seed_test`.

  Raises:
    UserError: a folder without a run, no common split, seeds that do not pair, or
      splits of different captions.
  """
  sides = [[read_run(name, data_root=data_root) for name in s] for s in (first, second)]
  sides = pair_by_seed(*sides)
  runs = [run for side in sides for run in side]
  tables = common_tables(runs, splits or common_splits(runs))
  ranks = [[ranks_of_run(run, tables=tables) for run in side] for side in sides]
  return {
    'runs': [[run.folder for run in side] for side in sides],
    'seeds': [[run.config.seed for run in side] for side in sides],
    'splits': {
      split: {
        kind: _differences(
          *([of_run[split][kind] for of_run in side] for side in ranks),
          caption_image=table.caption_image,
        )
        for kind in KINDS
      }
      for split, table in tables.items()
    },
  }


def read_run(folder: str, *, data_root: str | None = None) -> Run:
  """A run, its data at `data_root` where that is given.

  Raises:
    UserError: `folder` is not the folder of a run.
  """
  return Run(folder=folder, config=read_config(folder, data_root=data_root))


def pair_by_seed(first: Sequence[Run], second: Sequence[Run]) -> list[list[Run]]:
  """Both sides in the order of their seeds; one run a side needs no common seed.

  Raises:
    UserError: the sides do not hold one run each of the same seeds.
  """
  sides = [sorted(side, key=lambda run: run.config.seed) for side in (first, second)]
  seeds = [[run.config.seed for run in side] for side in sides]
  single = len(first) == len(second) == 1
  if not single and (seeds[0] != seeds[1] or len(set(seeds[0])) < len(seeds[0])):
    raise UserError(
      'Expected one run of RUN_A and one of RUN_B for each seed, or one run of each; '
      f'found seeds {seeds[0]} and {seeds[1]}. Name runs that pair.'
    )
  return sides


def common_splits(runs: Sequence[Run]) -> list[str]:
  """The names of the splits that every run evaluates, validation first.

  Raises:
    UserError: there is none.
  """
  named = [
    (run.config.data.val_split, run.config.data.test_split, run.folder) for run in runs
  ]
  common = [s for s in named[0][:2] if s and all(s in names[:2] for names in named)]
  if not common:
    found = '; '.join(f'{val!r}, {test!r} in {folder}' for val, test, folder in named)
    raise UserError(
      f'Expected a split that all runs evaluate; found {found}. Give --split=NAME.'
    )
  return common


def common_tables(
  runs: Sequence[Run], splits: Sequence[str]
) -> dict[str, CaptionTable]:
  """The captions of each split, the same in all runs.

  Raises:
    UserError: they differ, or cannot be read.
  """
  tables = {}
  for split in splits:
    tables[split] = build_table(runs[0].config, split)
    for run in runs[1:]:
      if fingerprint(build_table(run.config, split)) != fingerprint(tables[split]):
        raise UserError(
          f'Expected the same images and captions of split {split!r} in all runs; '
          f'those of {run.folder} (data.root={run.config.data.root}) are others than '
          f'those of {runs[0].folder} (data.root={runs[0].config.data.root}). '
          'Compare runs of one data set.'
        )
  return tables


def ranks_of_run(
  run: Run, *, tables: dict[str, CaptionTable]
) -> dict[str, dict[str, Ranks]]:
  """Ranks of the run's selected weights, by split and `KINDS`.

  Raises:
    UserError: nothing was saved in its folder.
  """
  model = build_model(run.config)
  params = read_workdir(run.folder)
  features_of = build_features(run.config, model)
  ranks = {}
  for name, table in tables.items():
    split = build_evaluation_split(run.config, table, model)
    owner = split.caption_image
    counts = count_not_below(features_of(params, split), owner)
    ranks[name] = {
      'standard': retrieval_ranks_of(counts, owner),
      'duplicate_aware': duplicate_aware_ranks(counts, split.groups, owner),
    }
  return ranks


def _differences(
  first: Sequence[Ranks], second: Sequence[Ranks], *, caption_image: np.ndarray
) -> dict[str, dict]:
  rows = recall_differences(first, second, caption_image)
  if len(first) > 1:
    sides = [[recall_of_ranks(ranks) for ranks in side] for side in (first, second)]
    for name, row in rows.items():
      row['over_seeds'] = seed_test(*([r[name] for r in side] for side in sides))
  return rows
