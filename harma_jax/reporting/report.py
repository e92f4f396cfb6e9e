"""The page of a run, for those who decide whether to trust it."""

import functools
import pathlib
from collections.abc import Mapping

from absl import logging

from harma_jax.building.params import read_workdir
from harma_jax.data.images import read_image
from harma_jax.errors import UserError
from harma_jax.raster.how import How
from harma_jax.reporting.curves import conflicts_section, curves_section
from harma_jax.reporting.measured import Measured, measure
from harma_jax.reporting.overview import caution_section, cautions, overview_section
from harma_jax.reporting.page import STYLE, escape, footer, page, picture
from harma_jax.reporting.projection import projection_section
from harma_jax.reporting.recalls import recalls_section
from harma_jax.reporting.record import Record, read_record
from harma_jax.reporting.retrieval import Gallery, queries_section
from harma_jax.reporting.scene_classes import classes_section
from harma_jax.rundir.workdir import read_config

SEED = 0  # of what is drawn by lot for the page

_WITHOUT_DATA = (
  'The data set could not be read, or is not what the run was trained on: queries, '
  'similarity by scene class and the projection are left out.'
)


def report(workdir: pathlib.Path, *, data_root: str | None = None) -> str:
  """The page of a run.

  What needs the data set is left out, with a sentence and a warning, where that cannot
  be read or is no longer what the run was trained on.

  Args:
    workdir: its folder.
    data_root: where the data set is now; default: where it was in training.

  Raises:
    UserError: `workdir` is not the folder of a run, or holds no saved step.
  """
  config = read_config(workdir, data_root=data_root)
  record = read_record(workdir, config)
  params = read_workdir(workdir)
  try:
    measured = measure(config, params, workdir=workdir, record=record)
  except UserError as error:
    logging.warning(
      'Left out of the report: all that needs the data (--data_root=FOLDER says where '
      'they are now). %s',
      error,
    )
    measured = None
  title = f'Report of {workdir.resolve().name}'
  body = f'<h1>{escape(title)}</h1>{_body(record, measured)}'
  return page(title, body + footer(body), style=STYLE.read_text())


def _body(record: Record, measured: Measured | None) -> str:
  fields, counts = record.fields, {}
  if measured:
    of = measured.table
    counts[record.selecting] = f' of {of.n_images:,} images, {of.n_captions:,} captions'
  notes = cautions(
    fields,
    provenance=record.provenance,
    results=record.results,
    splits=record.splits,
    skipped=max((row.get('skipped', 0) for row in record.rows), default=0),
  )
  data_name = pathlib.Path(fields['data.root']).name
  chance = {
    split: rows['chance'] for split, rows in record.splits.items() if 'chance' in rows
  }
  parts = [
    caution_section([*notes, *(measured.notes if measured else [_WITHOUT_DATA])]),
    overview_section(
      fields, provenance=record.provenance, results=record.results, counts=counts
    ),
    recalls_section(
      record.splits,
      counts=counts,
      data_name=data_name,
      test_set=record.results.get('counts', {}).get('test', {}),
    ),
    curves_section(
      record.rows,
      chance=chance,
      selected_on=record.selecting,
      best_step=record.best_step,
    ),
    conflicts_section(record.rows, pair=fields['harmonization.pair']),
  ]
  return ''.join(parts) + (_measured_parts(measured, fields) if measured else '')


def _measured_parts(measured: Measured, fields: Mapping) -> str:
  table, after = measured.table, measured.features['after']
  captions = after.texts[after.caption_text]

  def show(row, alt):
    read = functools.partial(
      read_image,
      table.image_path(row),
      max_pixels=fields['data.max_pixels'],
      how=How(bands=fields['data.bands'], stretch=fields['data.stretch']),
    )
    return picture(read, alt=alt)

  gallery = Gallery(
    captions=table.captions,
    files=table.image_files,
    caption_image=table.caption_image,
    cleaning=fields['data.cleaning'],
    show=show,
  )
  return (
    queries_section(after, measured.ranks, gallery, split=table.split, seed=SEED)
    + classes_section(after.images, captions, table.caption_image, table.image_files)
    + projection_section(
      measured.features, table.caption_image, seed=SEED, missing=measured.missing
    )
  )
