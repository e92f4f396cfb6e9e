"""Runs the situations of a folder of cases, and says whether each comes out right.

  python -m benchmarks.cases --run=RUN [--cases=../shared/cases] [--only=gs_path,...]
    [--out=benchmarks/results/cases.md]

`RUN` is the work folder of a finished quickstart. Each folder of `--cases` is one
situation, with a README of what would be right. The program is run by its commands, as
a user types them, and what it printed and wrote is compared with that. A case is a
function of `benchmarks.case_checks`; folders without one are named below the table.
Exit code 1: something is wrong.
"""

import argparse
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.case_checks import CHECKS
from benchmarks.commands import Check, Program

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def main() -> None:
  """Prints the table, and writes it where `--out` says."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--run', type=pathlib.Path, required=True)
  parser.add_argument('--cases', type=pathlib.Path, default='../shared/cases')
  parser.add_argument('--only', type=lambda names: names.split(','), default=[*CHECKS])
  parser.add_argument('--out', type=pathlib.Path)
  options = parser.parse_args()
  cases = options.cases.resolve()
  checks = run_cases(cases, run=options.run.resolve(), names=options.only)
  folders = {path.name for path in cases.iterdir() if path.is_dir()}
  checks = [check._replace(found=_shortened(check.found, cases)) for check in checks]
  text = markdown(checks, unchecked=sorted(folders - set(options.only)))
  print(text)
  if options.out:
    options.out.write_text(text)
  sys.exit(0 if all(check.is_right for check in checks) else 1)


def run_cases(
  cases: pathlib.Path, *, run: pathlib.Path, names: Sequence[str]
) -> list[tuple[str, Check]]:
  """What was found in each case that is there, in their order."""
  found = []
  for name in names:
    if not (cases / name).is_dir():
      raise SystemExit(f'--cases: expected a folder {name} in {cases}; found none.')
    with tempfile.TemporaryDirectory() as scratch:
      program = Program(run, scratch=pathlib.Path(scratch), repository=REPOSITORY)
      for check in CHECKS[name](cases / name, program):
        print(f'{name}: {check}', file=sys.stderr, flush=True)
        found.append(check._replace(case=name))
  return found


def _shortened(found: str, cases: pathlib.Path) -> str:
  """What was found, without the folder of this machine."""
  return found.replace(f'{cases}/', '')


def markdown(checks: Sequence[Check], *, unchecked: Sequence[str]) -> str:
  """The table, with a line above of how many are right."""
  right = sum(check.is_right for check in checks)
  lines = [
    f'{right} of {len(checks)} as they should be. By `python -m benchmarks.cases`.',
    '',
    '| case | asked | found | right |',
    '|---|---|---|---|',
  ]
  for check in checks:
    cells = [check.case, check.asked, check.found, 'yes' if check.is_right else 'NO']
    lines.append(
      f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |'
    )
  if unchecked:
    lines += ['', f'Not run: {", ".join(unchecked)}.']
  return '\n'.join(lines) + '\n'


if __name__ == '__main__':
  main()
