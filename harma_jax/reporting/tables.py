"""Tables of a run for the eye, on standard output."""

import pathlib
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harma_jax.evaluation.recall import RECALLS, Recall
from harma_jax.evaluation.ties import EXPECTED, OPTIMISTIC, RECORDED, part_of

# In words, how ties count where not against the model.
TIES = {EXPECTED: 'ties at random', OPTIMISTIC: 'ties for it'}
SHOWN = 0.005  # points of recall: what tables round away
_OTHERS = frozenset(RECORDED) - frozenset(RECALLS)


def with_ties(
  rows: Mapping[str, Recall], *, kinds: Sequence[str] = tuple(TIES)
) -> dict[str, Recall]:
  """Each row, and behind it what it becomes where ties are not against the model.

  Args:
    rows: recalls by the names of `RECORDED`.
    kinds: of `TIES`; a row is left out that would show the same as the one before it.
  """
  found = {}
  for name, row in rows.items():
    found[name] = {key: value for key, value in row.items() if key not in _OTHERS}
    for kind in kinds:
      recall = part_of(row, kind)
      if any(abs(value - row[key]) >= SHOWN for key, value in recall.items()):
        found[f'{name}, {TIES[kind]}'] = recall
  return found


def print_table(title: str, rows: Mapping[str, Recall]) -> None:
  """Prints recalls in per cent on standard output, a line for each row's name."""
  table = Table()
  table.add_column('')
  for name in RECALLS:
    table.add_column(header_of(name), justify='right', no_wrap=True)
  for name, recall in rows.items():
    table.add_row(name, *(f'{recall[key]:.1f}' for key in RECALLS))
  console = Console(width=100)
  console.print(title, highlight=False, soft_wrap=True)
  console.print(table)


def header_of(name: str) -> str:
  """A recall's name as tables have it: `I2T @5`, `mR`."""
  return 'mR' if name == 'mean_recall' else name.upper().replace('_R', ' @')


def print_facts(title: str, facts: Mapping[str, str]) -> None:
  """Prints a line of text for each name on standard output."""
  table = Table(show_header=False)
  table.add_column()
  table.add_column(overflow='fold')  # paths are long
  for name, fact in facts.items():
    table.add_row(Text(name), Text(fact))
  console = Console(width=100)
  console.print(title, highlight=False, markup=False, soft_wrap=True)
  console.print(table)


def print_differences(
  title: str, rows: dict[str, dict], *, names: tuple[str, str]
) -> None:
  """Prints a table on standard output, a line for each recall."""
  table = Table()
  table.add_column('')
  columns = ['second - first', '95 % over queries', 'p']
  if 'over_seeds' in rows['mean_recall']:
    columns += ['95 % over seeds', 'p']
  for name in names:
    table.add_column(Text(name, overflow='fold'), justify='right')
  for column in columns:
    table.add_column(column, justify='right', no_wrap=True)
  for name in RECALLS:
    row = rows[name]
    numbers = [f'{row["first"]:.1f}', f'{row["second"]:.1f}']
    cells = [*numbers, f'{row["difference"]:+.2f}', *_interval(row)]
    table.add_row(header_of(name), *cells, *_interval(row.get('over_seeds')))
  console = Console(width=100)
  console.print(title, highlight=False, soft_wrap=True)
  console.print(table)


def _interval(row: dict | None) -> list[str]:
  """The cells of an interval and its p, none where there is no row."""
  if row is None:
    return []
  if row['p_value'] is None:
    return ['no spread', '']
  return [f'{row["low"]:+.2f} to {row["high"]:+.2f}', f'{row["p_value"]:.4f}']


def print_conflicts(rows: Sequence[dict]) -> None:
  """Prints a table on standard output."""
  table = Table()
  for name in ('mean cosine', 'seen', 'dropped', 'image', 'caption'):
    table.add_column(name)
  for row in rows:
    numbers = f'{row["mean_cosine"]:.3f}', str(row['seen']), f'{row["dropped"]:g}'
    table.add_row(*numbers, pathlib.Path(row['image']).name, row['caption'])
  Console().print(table)
