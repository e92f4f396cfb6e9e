"""Writes a run as one HTML page.

It is for those who decide whether to trust the run. The page holds its pictures and
charts within and fetches nothing.

Examples:
  harma-jax report --workdir=FOLDER
  harma-jax report --workdir=FOLDER --out=report.html --data_root=DATA
"""

from collections.abc import Sequence

from harma_jax import cli

cli.shared_flag('workdir')
_OUT = cli.shared_flag('out')
_DATA_ROOT = cli.shared_flag('data_root')


def main(argv: Sequence[str]) -> None:
  """Writes the page of the run that the command line names."""
  from harma_jax.reporting.report import report

  cli.no_arguments(argv)
  workdir = cli.workdir()
  text = report(workdir, data_root=_DATA_ROOT.value)
  out = cli.write_text(_OUT, text, default=workdir / 'report.html')
  print(f'{out}: {len(text.encode()):,} bytes')


if __name__ == '__main__':
  cli.run(main)
