"""What was measured of classes as tables for the eye."""

from collections.abc import Mapping

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harma_jax.evaluation.zero_shot import most_confused

SHOWN_PAIRS = 10
HEADERS = {
  'top1': 'top-1',
  'mean_per_class_top1': 'mean of classes',
  'top5': 'top-5',
}
ROWS = {
  'chance': 'chance',
  'before': 'before training',
  'model': 'model',
  'difference': 'model - before',
}


def print_results(results: Mapping) -> None:
  """Prints top-1 of each class, the accuracies, and the commonest mistakes.

  Args:
    results: of `classify_folders`.
  """
  _print('top-1 in % of each class', _table_of_classes(results))
  title = f'in % of {results["n_images"]:,} images, with 95 % intervals'
  _print(title, _table_of_accuracies(results))
  _print('most confused', _table_of_mistakes(results))


def _table_of_classes(results: Mapping) -> Table:
  models = [key for key in ('before', 'model') if key in results]
  table = _table('class', 'images', *(ROWS[key] for key in models))
  for row in results['classes']:
    cells = f'{row["images"]:,}', *(f'{row[key]:.1f}' for key in models)
    table.add_row(Text(row['name']), *cells)
  return table


def _table_of_accuracies(results: Mapping) -> Table:
  table = _table('', *(HEADERS[name] for name in results['chance']))
  for key, title in ROWS.items():
    if key in results:
      sign = '+' if key == 'difference' else ''
      cells = (_cell(found, sign=sign) for found in results[key].values())
      table.add_row(title, *cells)
  return table


def _table_of_mistakes(results: Mapping) -> Table:
  table = _table('class', 'taken for', 'images', '% of the class')
  pairs = most_confused(np.array(results['confusion']), count=SHOWN_PAIRS)
  for right, wrong, images in pairs:
    own, other = results['classes'][right], results['classes'][wrong]
    cells = f'{images:,}', f'{100 * images / own["images"]:.1f}'
    table.add_row(Text(own['name']), Text(other['name']), *cells)
  return table


def _cell(found: float | Mapping[str, float], *, sign: str) -> str:
  if isinstance(found, float):
    return f'{found:.1f}'
  value, low, high = (f'{found[key]:{sign}.1f}' for key in ('value', 'low', 'high'))
  return f'{value} ({low} to {high})'


def _print(title: str, table: Table) -> None:
  console = Console(width=100)
  console.print(title, highlight=False)
  console.print(table)


def _table(*names: str) -> Table:
  table = Table()
  for name in names:
    words = name in ('', 'class', 'taken for')
    table.add_column(name, justify='left' if words else 'right')
  return table
