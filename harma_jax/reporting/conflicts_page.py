"""A page of the captions whose gradients conflict most, with their images."""

import pathlib
from collections.abc import Sequence

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.images import read_image
from harma_jax.raster.how import DEFAULT, How
from harma_jax.reporting.page import escape, figure, page, picture

_STYLE = (
  'body{font:16px/1.4 sans-serif;margin:1rem auto;max-width:60rem;padding:0 1rem}'
  'figure{display:inline-block;vertical-align:top;width:11rem;margin:.5rem}'
  'img{width:100%;image-rendering:auto}figcaption{font-size:.85rem}'
)


def conflicts_page(
  rows: Sequence[dict], *, table: CaptionTable, how: How = DEFAULT
) -> str:
  """One HTML page without any other file, images within.

  Args:
    rows: of `conflicts.jsonl`, one step.
    table: the captions that the run trained on.
    how: what it says of bands and values.
  """
  step = rows[0]['step'] if rows else 0
  body = (
    '<h1>Captions whose gradients conflict most</h1>'
    f'<p>Training captions by the mean cosine of their gradient and that of what they '
    f'are compared with, after step {step}. A low one may be a wrong caption.</p>'
  )
  figures = ''.join(_figure(row, table=table, how=how) for row in rows)
  return page('Conflicting captions', body + figures, style=_STYLE)


def _figure(row: dict, *, table: CaptionTable, how: How) -> str:
  name = pathlib.Path(row['image']).name
  path = table.image_path(table.caption_image[row['row']])
  return figure(
    picture(lambda: read_image(path, how=how), alt=name),
    f'{escape(row["caption"])}<br><small>{escape(name)}, cosine '
    f'{row["mean_cosine"]:.3f}, dropped {row["dropped"]:g} of {row["seen"]}</small>',
  )
