"""Writes a run, or several, as one HTML page.

It is for those who decide whether to trust the run. The page holds its pictures and
charts within and fetches nothing. Of a folder of several seeds, and of several folders,
it has means and deviations, gains and curves.

Examples:
  harma-jax report --workdir=FOLDER
  harma-jax report --workdir=FOLDER --out=report.html --data_root=DATA
  harma-jax report LORA HARMA --out=report.html
"""

import pathlib
from collections.abc import Sequence

from harma_jax import cli
from harma_jax.errors import UserError

_WORKDIR = cli.shared_flag('workdir')
_OUT = cli.shared_flag('out')
_DATA_ROOT = cli.shared_flag('data_root')


def main(argv: Sequence[str]) -> None:
  """Writes the page of what the command line names."""
  from harma_jax.reporting.report import report
  from harma_jax.reporting.several import report_several
  from harma_jax.rundir.seeds import started_seeds

  folders = folders_of(argv[1:])
  first = pathlib.Path(folders[0])
  if len(folders) > 1 or started_seeds(first):
    text = report_several(folders, data_root=_DATA_ROOT.value)
  else:
    text = report(first, data_root=_DATA_ROOT.value)
  out = cli.write_text(_OUT, text, default=first / 'report.html')
  print(f'{out}: {len(text.encode()):,} bytes')


def folders_of(arguments: Sequence[str]) -> list[str]:
  """The folders that words or --workdir=A,B name.

  Raises:
    UserError: none, both ways at once, or several without --out.
  """
  if arguments and _WORKDIR.value:
    raise UserError(
      f'Expected folders as words or as --workdir=A,B; found {" ".join(arguments)} and '
      f'--workdir={_WORKDIR.value}. Give one of them.'
    )
  folders = list(arguments) or str(cli.workdir()).split(',')
  if not all(folders):
    raise UserError(
      f'Expected folders with commas between; found {",".join(folders)}, with an empty '
      'name. Leave it out.'
    )
  if len(folders) > 1 and not _OUT.value:
    raise UserError(
      'Expected --out=FILE.html beside several folders, for the page; found none.'
    )
  return folders


if __name__ == '__main__':
  cli.run(main, compiles=True)
