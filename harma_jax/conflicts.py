"""Shows the captions whose gradients conflict most: maybe wrong ones.

Reads `conflicts.jsonl` of a run with harmonization, prints the worst training captions
of its last evaluation and writes a page that shows them with their images.

Examples:
  harma-jax conflicts --workdir=FOLDER
  harma-jax conflicts --workdir=FOLDER --worst=50 --out=PAGE.html
"""

import json
from collections.abc import Sequence

from absl import flags, logging

from harma_jax import cli

cli.shared_flag('workdir')
_OUT = cli.shared_flag('out')
cli.shared_flag('json')
_WORST = flags.DEFINE_integer('worst', 20, 'How many captions.', lower_bound=1)


def main(argv: Sequence[str]) -> None:
  """Prints the worst captions and writes the page."""
  from harma_jax.building.data import build_how, build_table
  from harma_jax.reporting.conflicts_page import conflicts_page
  from harma_jax.reporting.tables import print_conflicts
  from harma_jax.results.conflicts import read_conflicts
  from harma_jax.rundir.workdir import read_config

  cli.no_arguments(argv)
  workdir = cli.workdir()
  rows = read_conflicts(workdir)[: _WORST.value]
  if cli.asks_for_json():
    print(json.dumps(rows, indent=2))
  else:
    print_conflicts(rows)
  config = read_config(workdir)
  table = build_table(config, config.data.train_split)
  page = conflicts_page(rows, table=table, how=build_how(config))
  path = cli.write_text(_OUT, page, default=workdir / 'conflicts.html')
  logging.info('wrote %s', path)


if __name__ == '__main__':
  cli.run(main)
