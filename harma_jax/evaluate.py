"""Evaluates the selected weights of a run again.

  python -m harma_jax.evaluate --workdir=FOLDER [--split=val,test] [--data_root=FOLDER]

Prints a table of recalls beside chance for each split, and last one line of JSON.
"""

import json
from collections.abc import Sequence

import jax
from absl import flags
from ml_collections import ConfigDict

from harma_jax import cli
from harma_jax.build import (
  build_evaluation_mesh,
  build_evaluation_split,
  build_model,
  build_table,
  read_workdir,
)
from harma_jax.evaluation.evaluator import make_evaluator
from harma_jax.evaluation.recall import Recall, chance_recall
from harma_jax.mesh import tree_shardings
from harma_jax.metrics import print_table
from harma_jax.workdir import read_config

_SPLIT = flags.DEFINE_list('split', None, 'Default: the splits that the run evaluates.')
_DATA_ROOT = flags.DEFINE_string(
  'data_root', None, 'Where the data set is now. Default: where it was in training.'
)


def main(argv: Sequence[str]) -> None:
  """Evaluates what the command line names."""
  cli.no_arguments(argv)
  workdir = cli.workdir()
  config = read_config(workdir)
  if _DATA_ROOT.value:
    config.data.root = _DATA_ROOT.value
  splits = _SPLIT.value or [config.data.val_split, config.data.test_split]
  results = evaluate(config, workdir=workdir, splits=[s for s in splits if s])
  for split, recalls in results.items():
    print_table(f'{split}: recall in %', recalls)
  print(json.dumps(results))


def evaluate(
  config: ConfigDict, *, workdir: str, splits: Sequence[str]
) -> dict[str, dict[str, Recall]]:
  """Recalls of a run's selected weights, and of chance, by split.

  Raises:
    UserError: nothing was saved in `workdir`, or a split that cannot be read.
  """
  model = build_model(config)
  data = [
    build_evaluation_split(config, build_table(config, split), model)
    for split in splits
  ]
  mesh, batch_size = build_evaluation_mesh(config)
  params = read_workdir(workdir)
  params = jax.device_put(params, tree_shardings(params, mesh=mesh))
  measure = make_evaluator(model, mesh=mesh, batch_size=batch_size)
  return {
    split.name: {
      'chance': chance_recall(split.caption_image, len(split.images)),
      'selected': measure(params, split),
    }
    for split in data
  }


if __name__ == '__main__':
  cli.run(main)
