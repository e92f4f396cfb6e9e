"""Writes a run as one HTML page.

It is for those who decide whether to trust the run. The page holds its pictures and
charts within and fetches nothing.

Examples:
  harma-jax report --workdir=FOLDER
  harma-jax report --workdir=FOLDER --out=report.html --data_root=DATA
"""

import pathlib
from collections.abc import Sequence

from harma_jax import cli
from harma_jax.errors import UserError
from harma_jax.reporting.report import report

cli.shared_flag('workdir')
_OUT = cli.shared_flag('out')
_DATA_ROOT = cli.shared_flag('data_root')


def main(argv: Sequence[str]) -> None:
  """Writes the page of the run that the command line names."""
  cli.no_arguments(argv)
  workdir = cli.workdir()
  out = pathlib.Path(_OUT.value or workdir / 'report.html').expanduser()
  text = report(workdir, data_root=_DATA_ROOT.value)
  try:
    out.write_text(text, encoding='utf-8')
  except OSError as error:
    raise UserError(
      f'--out={out}: expected a file that can be written; {error.strerror}. Give '
      'another --out.'
    ) from error
  print(f'{out}: {len(text.encode()):,} bytes')


if __name__ == '__main__':
  cli.run(main)
