"""Shows the training captions whose gradients conflict most: maybe wrong ones.

  python -m harma_jax.conflicts --workdir=FOLDER [--worst=20] [--out=PAGE.html]

Reads `conflicts.jsonl` of a run with harmonization, prints the worst captions of its
last evaluation and writes a page that shows them with their images.
"""

import json
import pathlib
from collections.abc import Sequence

from absl import flags, logging

from harma_jax import cli
from harma_jax.building.data import build_table
from harma_jax.data.annotations import CaptionTable
from harma_jax.data.images import read_image
from harma_jax.errors import UserError
from harma_jax.reporting.page import escape, figure, page, picture
from harma_jax.reporting.tables import print_conflicts
from harma_jax.rundir.workdir import CONFLICTS_FILE, read_config

_WORST = flags.DEFINE_integer('worst', 20, 'How many captions.', lower_bound=1)

_STYLE = (
  'body{font:16px/1.4 sans-serif;margin:1rem auto;max-width:60rem;padding:0 1rem}'
  'figure{display:inline-block;vertical-align:top;width:11rem;margin:.5rem}'
  'img{width:100%;image-rendering:auto}figcaption{font-size:.85rem}'
)


def main(argv: Sequence[str]) -> None:
  """Prints the worst captions and writes the page."""
  cli.no_arguments(argv)
  workdir = cli.workdir()
  rows = read_conflicts(workdir)[: _WORST.value]
  print_conflicts(rows)
  path = pathlib.Path(cli.OUT.value or workdir / 'conflicts.html')
  config = read_config(workdir)
  table = build_table(config, config.data.train_split)
  path.write_text(page_of(rows, table=table), encoding='utf-8')
  logging.info('wrote %s', path)


def read_conflicts(workdir: pathlib.Path) -> list[dict]:
  """The captions noted at the last evaluation, the lowest mean cosine first.

  Raises:
    UserError: the run has noted none.
  """
  path = workdir / CONFLICTS_FILE
  if not path.is_file():
    raise UserError(
      f'Expected {path}, which runs with harmonization write at each evaluation; it is '
      'not there. Train with --config.harmonization.pair=...'
    )
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  last = max(row['step'] for row in rows)
  return [row for row in rows if row['step'] == last]


def page_of(rows: Sequence[dict], *, table: CaptionTable) -> str:
  """One HTML page without any other file, images within.

  Args:
    rows: of `read_conflicts`.
    table: the captions that the run trained on.
  """
  step = rows[0]['step'] if rows else 0
  body = (
    '<h1>Captions whose gradients conflict most</h1>'
    f'<p>Training captions by the mean cosine of their gradient and that of what they '
    f'are compared with, after step {step}. A low one may be a wrong caption.</p>'
  )
  figures = ''.join(_figure(row, table=table) for row in rows)
  return page('Conflicting captions', body + figures, style=_STYLE)


def _figure(row: dict, *, table: CaptionTable) -> str:
  name = pathlib.Path(row['image']).name
  path = table.image_path(table.caption_image[row['row']])
  return figure(
    picture(lambda: read_image(path), alt=name),
    f'{escape(row["caption"])}<br><small>{escape(name)}, cosine '
    f'{row["mean_cosine"]:.3f}, dropped {row["dropped"]:g} of {row["seen"]}</small>',
  )


if __name__ == '__main__':
  cli.run(main)
