"""Prepares and checks folders of captioned images.

  python -m harma_jax.data prepare --dataset=DATASET --source=FOLDER --out=FOLDER
  python -m harma_jax.data check --source=FOLDER [--strict] [--out=FILE.json]

`prepare` writes a TFDS data set of ArrayRecord, or verifies one that is finished; after
an interruption it goes on when started again. DATASET is rsicd, rsitmd, or captions for
any other. `check` reports what is wrong with a source, with exit code 1 where there are
errors. The source holds annotations in any form that training reads, and the images.
"""

import json
import os
import pathlib
from collections.abc import Iterable, Sequence

from absl import flags
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from harma_jax import cli
from harma_jax.data.audit import ERROR, WARNING, Report, audit
from harma_jax.data.builders.prepare import DATASETS, prepare
from harma_jax.errors import UserError

_SOURCE = flags.DEFINE_string('source', None, 'The folder of the data set as it is.')
_DATASET = flags.DEFINE_string('dataset', None, f'One of {", ".join(DATASETS)}.')
_SPLITS = flags.DEFINE_list('splits', [], 'What to prepare. By default: all there are.')
_ANNOTATIONS = flags.DEFINE_string(
  'annotations', 'auto', 'A file below the source; {split} in it stands for the split.'
)
_IMAGES = cli.shared_flag('images')  # below the source
_THREADS = flags.DEFINE_integer(
  'threads', os.cpu_count(), 'Images that are worked on at once.', lower_bound=1
)
_STRICT = flags.DEFINE_bool('strict', False, 'Let warnings, too, give exit code 1.')
_EXAMPLES = flags.DEFINE_integer(
  'examples', 3, 'How many of each finding to show.', lower_bound=1
)

FOUND = 1

# What messages on reading annotations call by the names of training.
_SPELLINGS = {
  '--config.data.root': '--source',
  '--config.data.': '--',
  'data.root:': '--source:',
  'data.annotations:': '--annotations:',
  'data.images:': '--images:',
  'relative to data.root': 'relative to --source',
}


def main(argv: Sequence[str]) -> int:
  """Runs the command that the command line names."""
  commands = {'prepare': run_prepare, 'check': run_check}
  if len(argv) != 2 or argv[1] not in commands:
    raise UserError(
      f'Expected one of the commands {", ".join(commands)}; found '
      f'{" ".join(argv[1:]) or "none"}. As in: python -m harma_jax.data check '
      '--source=FOLDER'
    )
  try:
    return commands[argv[1]]()
  except UserError as error:
    raise UserError(_in_these_flags(str(error))) from error


def run_prepare() -> int:
  """Prepares what the flags say and prints what lies there then."""
  source, out = _given(_SOURCE, 'FOLDER'), pathlib.Path(_given(cli.OUT, 'FOLDER'))
  dataset = _given(_DATASET, 'DATASET')
  if dataset not in DATASETS:
    raise UserError(
      f'--dataset={dataset}: expected one of {", ".join(DATASETS)}. Take captions '
      'for a data set that has no name here.'
    )
  manifest = prepare(source, out, dataset=dataset, splits=_SPLITS.value, **_reading())
  table = _table('split', 'images', 'captions')
  for split, counts in manifest['splits'].items():
    table.add_row(split, f'{counts["images"]:,}', f'{counts["captions"]:,}')
  Console().print(table)
  size = sum(file['bytes'] for file in manifest['files'].values())
  print(f'{out}: {size / 1e6:,.1f} MB; checksums, counts and captions verified')
  return 0


def run_check() -> int:
  """Prints the report, writes all of it to `--out`, and returns the exit code."""
  report = audit(_given(_SOURCE, 'FOLDER'), **_reading())
  print_report(report, examples=_EXAMPLES.value)
  if cli.OUT.value:
    _write_report(report, pathlib.Path(cli.OUT.value).expanduser())
  wrong = report.count(ERROR) + _STRICT.value * report.count(WARNING)
  return FOUND if wrong else 0


def print_report(report: Report, *, examples: int) -> None:
  """Prints how much the splits hold, and each finding with a few examples."""
  console = Console()
  splits = _table('split', 'images', 'captions', 'annotations')
  for split in report.splits:
    counts = f'{split.images:,}', f'{split.captions:,}'
    splits.add_row(split.split, *counts, Text(split.file))
  console.print(splits)
  findings = Table(show_lines=True)
  findings.add_column('', no_wrap=True)
  findings.add_column('found')
  findings.add_column('count', no_wrap=True, justify='right')
  for finding in report.findings:
    lines = Text(finding.what, style='bold', no_wrap=True, overflow='ellipsis')
    for example in finding.examples[:examples]:
      lines.append(f'\n{" ".join(example.split())}', style='not bold')
    findings.add_row(finding.severity, lines, f'{len(finding.examples):,}')
  if report.findings:
    console.print(findings)
  print(f'errors: {report.count(ERROR):,}, warnings: {report.count(WARNING):,}')


def _write_report(report: Report, path: pathlib.Path) -> None:
  content = {
    'splits': [split._asdict() for split in report.splits],
    'findings': [finding._asdict() for finding in report.findings],
  }
  try:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding='utf-8')
  except OSError as error:
    raise UserError(
      f'--out={path}: expected a file that can be written; {error.strerror}.'
    ) from error
  print(f'{path}: all findings')


def _table(*names: str) -> Table:
  """A table with these columns; counts stand to the right."""
  table = Table()
  for name in names:
    number = name in ('images', 'captions')
    table.add_column(name, justify='right' if number else 'left')
  return table


def _given(flag: flags.FlagHolder, what: str) -> str:
  if not flag.value:
    raise UserError(f'Expected --{flag.name}={what}; found none. --help shows more.')
  return flag.value


def _reading() -> dict:
  """The keyword arguments that both commands share."""
  reading = {'annotations': _ANNOTATIONS.value, 'images': _IMAGES.value}
  return reading | {'threads': _THREADS.value, 'track': _track}


def _track(items: Iterable, *, title: str, total: int) -> Iterable:
  console = Console(stderr=True)
  return track(
    items,
    f'{title}: {total:,}',
    total=total,
    console=console,
    disable=not console.is_terminal,
  )


def _in_these_flags(message: str) -> str:
  for theirs, ours in _SPELLINGS.items():
    message = message.replace(theirs, ours)
  return message


if __name__ == '__main__':
  cli.run(main, interrupted='Interrupted; prepare goes on when started again.')
