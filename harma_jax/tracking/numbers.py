"""Rows and tables of a run as numbers by name, and as Markdown."""

from collections.abc import Iterator, Mapping

from harma_jax.evaluation.recall import RECALLS

_PLACE = ('kind', 'split', 'step')


def numbers_of(row: Mapping) -> dict[str, float]:
  """The numbers of a row of `metrics.jsonl`: `train/loss`, `val/mean_recall`, ...

  Lists, as the histograms of angles, are left out.
  """
  group = row.get('split', row['kind'])
  return {
    f'{group}/{name}': float(value)
    for name, value in row.items()
    if name not in _PLACE and isinstance(value, int | float)
  }


def summary_of(results: Mapping) -> dict[str, float]:
  """The numbers of `results.json`: `results/test/selected/mean_recall`, ...

  A row is called by its last word, so that runs that ended at other steps compare.
  """
  numbers = {
    f'results/{split}/{name.rpartition(", ")[2]}/{key}': float(value)
    for split, rows in results['splits'].items()
    for name, recall in rows.items()
    for key, value in recall.items()
  }
  return {'results/best_step': float(results['best_step'])} | numbers


def markdown_of(rows: Mapping[str, Mapping[str, float]]) -> str:
  """The table of a split: its rows and their recalls in per cent."""
  return '\n'.join(_table_lines(rows))


def _table_lines(rows: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
  yield '| | ' + ' | '.join(RECALLS) + ' |'
  yield '|' + '---|' * (len(RECALLS) + 1)
  for name, recall in rows.items():
    yield f'| {name} | ' + ' | '.join(f'{recall[key]:.2f}' for key in RECALLS) + ' |'
