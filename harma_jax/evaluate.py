"""Evaluates a run again, and what it started from.

Prints for each split the recalls beside chance and the ceiling that identical captions
put, before and after training, with 95 % intervals over queries, median ranks, and how
the embeddings lie on the sphere; and last, in one line, what training brought.

Examples:
  harma-jax evaluate --workdir=FOLDER
  harma-jax evaluate --workdir=FOLDER --split=test --out=FILE.json
"""

import functools
from collections.abc import Mapping, Sequence

from harma_jax import cli
from harma_jax.evaluation.recall import RECALLS, Recall
from harma_jax.evaluation.ties import RECORDED
from harma_jax.reporting.tables import print_table, with_ties

cli.shared_flag('workdir')
_SPLIT = cli.shared_flag('split')
_DATA_ROOT = cli.shared_flag('data_root')
cli.shared_flag('out')
cli.shared_flag('json')


def main(argv: Sequence[str]) -> None:
  """Evaluates what the command line names."""
  from harma_jax.results.evaluation import evaluate
  from harma_jax.rundir.workdir import read_config

  cli.no_arguments(argv)
  workdir = cli.workdir()
  config = read_config(workdir, data_root=_DATA_ROOT.value)
  splits = _SPLIT.value or [config.data.val_split, config.data.test_split]
  results = evaluate(config, workdir=workdir, splits=[s for s in splits if s])
  cli.answer(results, functools.partial(show, results))


def show(results: Mapping[str, Mapping[str, Recall]]) -> None:
  """Prints what `evaluate` found: tables, and the verdict as the last line."""
  for split, rows in results.items():
    _print_rows(split, rows)
  print('; '.join(verdict(split, rows) for split, rows in results.items()))


def verdict(split: str, rows: Mapping[str, Recall]) -> str:
  """The mean recall of a split with its interval, and what training brought to it."""
  from harma_jax.results.evaluation import BEFORE, SELECTED

  low, mean, high = (
    rows[f'{SELECTED}{end}']['mean_recall'] for end in (', 2.5 %', '', ', 97.5 %')
  )
  words = f'{split}: mean recall {mean:.1f} ({low:.1f} to {high:.1f})'
  if BEFORE in rows:
    gain = mean - rows[BEFORE]['mean_recall']
    words += f', {gain:+.1f} to step 0'
  return f'{words}; at most {rows["ceiling"]["mean_recall"]:.1f}'


def _print_rows(split: str, rows: Mapping[str, Recall]) -> None:
  """A table of the recalls, and a line of what else a row has."""
  from harma_jax.results.evaluation import BEFORE, SELECTED

  print_table(
    f'{split}: recall in %, ties against the model, with 95 % intervals over queries',
    with_ties({name: row for name, row in rows.items() if row.keys() >= set(RECALLS)}),
  )
  for name in (BEFORE, SELECTED):
    if name in rows:
      further = {k: value for k, value in rows[name].items() if k not in RECORDED}
      numbers = (f'{key} {value:.4g}' for key, value in further.items())
      print(f'{split}, {name}: {", ".join(numbers)}')


if __name__ == '__main__':
  cli.run(main, compiles=True)
