"""Evaluates the selected weights of a run again, and those that it started from.

  python -m harma_jax.evaluate --workdir=FOLDER [--split=val,test] [--data_root=FOLDER]

Prints for each split the recalls beside chance and the ceiling that identical captions
put, before and after training, with 95 % intervals over queries, median ranks, and how
the embeddings lie on the sphere; and last one line of JSON.
"""

import json
from collections.abc import Sequence

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from harma_jax import cli
from harma_jax.building.data import build_table
from harma_jax.building.evaluation import build_evaluation_split, build_features
from harma_jax.building.model import build_model
from harma_jax.building.params import read_start, read_workdir
from harma_jax.errors import UserError
from harma_jax.evaluation.bootstrap import recall_intervals
from harma_jax.evaluation.duplicates import duplicate_aware_ranks, recall_ceiling
from harma_jax.evaluation.evaluator import EvaluationSplit
from harma_jax.evaluation.geometry import geometry
from harma_jax.evaluation.ranks import Features, count_not_below, retrieval_ranks_of
from harma_jax.evaluation.recall import (
  RECALLS,
  Ranks,
  Recall,
  chance_recall,
  median_ranks,
  recall_of_ranks,
)
from harma_jax.reporting.tables import print_table
from harma_jax.rundir.workdir import read_config

_SPLIT = cli.shared_flag('split')
_DATA_ROOT = cli.shared_flag('data_root')

SELECTED, BEFORE = 'selected', 'step 0'
AWARE = 'identical right'


def main(argv: Sequence[str]) -> None:
  """Evaluates what the command line names."""
  cli.no_arguments(argv)
  workdir = cli.workdir()
  config = read_config(workdir)
  if _DATA_ROOT.value:
    config.data.root = _DATA_ROOT.value
  splits = _SPLIT.value or [config.data.val_split, config.data.test_split]
  results = evaluate(config, workdir=workdir, splits=[s for s in splits if s])
  for split, rows in results.items():
    print_table(
      f'{split}: recall in %, with 95 % intervals over queries',
      {name: row for name, row in rows.items() if row.keys() >= set(RECALLS)},
    )
    for name in (BEFORE, SELECTED):
      if name in rows:
        numbers = (f'{key} {rows[name][key]:.4g}' for key in _further(rows[name]))
        print(f'{split}, {name}: {", ".join(numbers)}')
  print(json.dumps(results))


def evaluate(
  config: ConfigDict, *, workdir: str, splits: Sequence[str]
) -> dict[str, dict[str, Recall]]:
  """What is measured of a run, by split and row.

  Returns:
    Of each split the recalls in per cent of `chance`; of the `ceiling` that identical
    captions put; of `step 0` and `selected`, each also with its median ranks and
    `geometry`, and `selected, 2.5 %` and `selected, 97.5 %`, between which 95 % of the
    resamples of the queries lie; the same three of `identical right`. The
    weights of `step 0` are made again as training made them: there is no such row, and
    a warning, where what they were made of is gone.

  Raises:
    UserError: nothing was saved in `workdir`, or a split that cannot be read.
  """
  model = build_model(config)
  data = [
    build_evaluation_split(config, build_table(config, split), model)
    for split in splits
  ]
  params = read_workdir(workdir)
  before = _read_start(workdir)
  features_of = build_features(config, model)
  results = {}
  for split in data:
    rows = {
      'chance': chance_recall(split.caption_image, len(split.images)),
      'ceiling': recall_ceiling(split.groups, split.caption_image),
    }
    if before:
      rows[BEFORE] = measure(features_of(before, split), split)[SELECTED]
    results[split.name] = rows | measure(features_of(params, split), split)
  return results


def _read_start(workdir: str) -> dict:
  """The parameters of step 0; empty where they cannot be made again."""
  try:
    return read_start(workdir)
  except UserError as error:
    logging.warning('step 0 is not evaluated: %s', error)
    return {}


def measure(features: Features, split: EvaluationSplit) -> dict[str, Recall]:
  """The rows of `evaluate` from `selected` on."""
  owner = split.caption_image
  counts = count_not_below(features, owner)
  standard = retrieval_ranks_of(counts, owner)
  aware = duplicate_aware_ranks(counts, split.groups, owner)
  rows = _with_interval(SELECTED, standard, owner) | _with_interval(AWARE, aware, owner)
  rows[SELECTED] |= median_ranks(standard)
  rows[SELECTED] |= geometry(
    features.images, features.texts, features.caption_text, owner
  )
  return rows


def _with_interval(
  name: str, ranks: Ranks, caption_image: np.ndarray
) -> dict[str, Recall]:
  intervals = recall_intervals(ranks, caption_image)
  low, high = (
    {key: bounds[side] for key, bounds in intervals.items()} for side in (0, 1)
  )
  return {
    name: recall_of_ranks(ranks),
    f'{name}, 2.5 %': low,
    f'{name}, 97.5 %': high,
  }


def _further(row: Recall) -> list[str]:
  """What a row has besides recalls."""
  return [key for key in row if key not in RECALLS]


if __name__ == '__main__':
  cli.run(main)
