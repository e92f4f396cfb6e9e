"""What a folder of captioned images holds, and what is wrong with it, as tables."""

from collections.abc import Mapping, Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from harma_jax.data.audit import ERROR, WARNING, Finding, Report


def print_splits(splits: Mapping[str, Mapping[str, int]]) -> None:
  """Prints the `images` and `captions` of each split on standard output."""
  table = _table('split', 'images', 'captions')
  for split, counts in splits.items():
    table.add_row(split, f'{counts["images"]:,}', f'{counts["captions"]:,}')
  Console().print(table)


def print_report(report: Report, *, examples: int) -> None:
  """Prints how much the splits hold, and each finding with a few examples."""
  console = Console()
  splits = _table('split', 'images', 'captions', 'annotations')
  for split in report.splits:
    counts = f'{split.images:,}', f'{split.captions:,}'
    splits.add_row(split.split, *counts, Text(split.file))
  console.print(splits)
  console.print(_table_of_cleanings(report.cleanings))
  if report.findings:
    console.print(_table_of(report.findings, examples=examples))
  print(f'errors: {report.count(ERROR):,}, warnings: {report.count(WARNING):,}')


def _table_of_cleanings(cleanings: Mapping[str, Mapping[str, int]]) -> Table:
  """How many captions each way of cleaning changes."""
  kinds = next(iter(cleanings.values()))
  table = Table()
  table.add_column('data.cleaning')
  for kind in kinds:
    table.add_column(kind, justify='right')
  for name, counts in cleanings.items():
    table.add_row(name, *(f'{count:,}' for count in counts.values()))
  return table


def _table_of(findings: Sequence[Finding], *, examples: int) -> Table:
  table = Table(show_lines=True)
  table.add_column('', no_wrap=True)
  table.add_column('found')
  table.add_column('count', no_wrap=True, justify='right')
  for finding in findings:
    shown = (' '.join(example.split()) for example in finding.examples[:examples])
    lines = (Text(line, no_wrap=True, overflow='ellipsis') for line in shown)
    found = Group(Text(finding.what, style='bold'), *lines)
    table.add_row(finding.severity, found, f'{len(finding.examples):,}')
  return table


def _table(*names: str) -> Table:
  """A table with these columns; counts stand to the right."""
  table = Table()
  for name in names:
    number = name in ('images', 'captions')
    table.add_column(name, justify='right' if number else 'left')
  return table
