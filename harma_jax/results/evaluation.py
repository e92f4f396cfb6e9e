"""What is measured of the selected weights of a run, and of its starting weights."""

from collections.abc import Sequence

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from harma_jax.building.data import build_table
from harma_jax.building.evaluation import build_evaluation_split, build_features
from harma_jax.building.model import build_model
from harma_jax.building.params import read_start, read_workdir
from harma_jax.errors import UserError
from harma_jax.evaluation.bootstrap import recall_intervals
from harma_jax.evaluation.duplicates import ceiling_row, duplicate_aware_ranks
from harma_jax.evaluation.evaluator import EvaluationSplit
from harma_jax.evaluation.geometry import geometry
from harma_jax.evaluation.ranks import (
  Features,
  count_not_below,
  retrieval_ranks_of,
  retrieval_ties_of,
)
from harma_jax.evaluation.recall import (
  Ranks,
  Recall,
  chance_recall,
  median_ranks,
  recall_of_ranks,
)
from harma_jax.evaluation.ties import recalls_of_ties

SELECTED, BEFORE = 'selected', 'step 0'
AWARE = 'identical right'


def evaluate(
  config: ConfigDict, *, workdir: str, splits: Sequence[str]
) -> dict[str, dict[str, Recall]]:
  """What is measured of a run, by split and row.

  Returns:
    Of each split the recalls in per cent of `chance`; of the `ceiling` that identical
    captions put; of `step 0` and `selected`, each also with
    `recalls_of_ties`, its median ranks and `geometry`, and `selected, 2.5 %` and
    `selected, 97.5 %`, between which 95 % of the resamples of the queries lie; the same
    three of `identical right`. The weights of `step 0` are made again as training made
    them: there is no such row, and a warning, where what they were made of is gone.

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
      'ceiling': ceiling_row(split.groups, split.caption_image),
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
  rows[SELECTED] |= recalls_of_ties(retrieval_ties_of(counts, owner))
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
