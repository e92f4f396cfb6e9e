"""The page of a run, for those who decide whether to trust it."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence

from absl import logging
from ml_collections import ConfigDict

from harma_jax import __version__
from harma_jax.building.data import build_table
from harma_jax.building.evaluation import build_evaluation_split, build_features
from harma_jax.building.model import build_model
from harma_jax.building.params import read_start, read_workdir
from harma_jax.data.annotations import CaptionTable, fingerprint
from harma_jax.data.images import read_image
from harma_jax.errors import UserError
from harma_jax.evaluation.bootstrap import recall_differences
from harma_jax.evaluation.ranks import Features, count_not_below, retrieval_ranks_of
from harma_jax.evaluation.recall import Ranks, recall_of_ranks
from harma_jax.reporting.curves import conflicts_section, curves_section
from harma_jax.reporting.overview import caution_section, cautions, overview_section
from harma_jax.reporting.page import escape, page, picture
from harma_jax.reporting.projection import projection_section
from harma_jax.reporting.recalls import (
  best_of,
  recalls_section,
  splits_of,
  step_of,
)
from harma_jax.reporting.retrieval import Gallery, queries_section
from harma_jax.reporting.scene_classes import classes_section
from harma_jax.rundir.metrics import read_rows
from harma_jax.rundir.workdir import (
  DATA_FILE,
  METRICS_FILE,
  RESULTS_FILE,
  flat,
  read_config,
  read_provenance,
)

STYLE = pathlib.Path(__file__).with_name('style.css')
TOLERANCE = 0.5  # of mean recall in points, between devices and number formats
SEED = 0  # of what is drawn by lot for the page

_WITHOUT_DATA = (
  'The data set could not be read, or is not what the run was trained on: queries, '
  'similarity by scene class and the projection are left out.'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
  """What a run wrote down.

  Attributes:
    fields: of its config, by dotted name.
    provenance: of its starting weights; empty where nothing was recorded.
    results: as in `results.json`; empty where the run has not ended.
    rows: of `metrics.jsonl`.
    splits: split -> row of the table (`chance`, `step 0`, ...) -> recalls.
    best_step: that is selected, or would be now; None where that is not known yet.
    selecting: the split whose recall picks the step, or the only one; '' for none.
  """

  fields: Mapping
  provenance: Mapping
  results: Mapping
  rows: Sequence[Mapping]
  splits: Mapping
  best_step: int | None
  selecting: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
  """What the weights of a run make of a split now.

  Attributes:
    table: captions and images of the split.
    features: `before` training, where that could be rebuilt, and `after`.
    ranks: of the queries, after training.
    missing: why `before` is not there; '' where it is.
    notes: on what was recomputed.
  """

  table: CaptionTable
  features: Mapping[str, Features]
  ranks: Ranks
  missing: str
  notes: Sequence[str]


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
  config = read_config(workdir)
  if data_root:
    config.data.root = data_root
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
  body = _body(record, measured, title=f'Report of {workdir.resolve().name}')
  body += _footer(len(body.encode()))
  return page(f'Report of {workdir.resolve().name}', body, style=STYLE.read_text())


def read_record(workdir: pathlib.Path, config: ConfigDict) -> Record:
  """What the run in `workdir` wrote down; splits are called `val` and `test`."""
  roles = {config.data[f'{role}_split']: role for role in ('test', 'val')}
  rows = [
    row | {'split': roles.get(row['split'], row['split'])} if 'split' in row else row
    for row in read_rows(workdir / METRICS_FILE)
  ]
  path = workdir / RESULTS_FILE
  results = json.loads(path.read_text()) if path.is_file() else {}
  measured = [row for row in rows if row['kind'] == 'evaluation']
  wanted = config.evaluation.select_on
  best = best_of([row for row in measured if row['split'] == wanted])
  used = {role: name for name, role in roles.items() if name}
  return Record(
    fields=flat(config),
    provenance=read_provenance(workdir),
    results=results,
    rows=rows,
    splits=results['splits'] if results else splits_of(measured),
    best_step=results.get('best_step', best and best['step']),
    selecting=wanted if wanted in used else next(iter(used), ''),
  )


def measure(
  config: ConfigDict, params: dict, *, workdir: pathlib.Path, record: Record
) -> Measured:
  """Features of the selecting split, with the selected weights and the starting ones.

  Raises:
    UserError: there is no such split, or it cannot be read or is another now.
  """
  table = _read_table(config, record.selecting, workdir=workdir)
  model = build_model(config)
  split = build_evaluation_split(config, table, model)
  features_of = build_features(config, model)
  recorded = _recorded(record)
  features, missing = {'after': features_of(params, split)}, ''
  ranks = {'after': _ranks(features['after'], table)}
  try:
    before = features_of(read_start(workdir), split)
    ranks['before'] = _ranks(before, table)
    _check_start(_mean_recall(ranks['before']), recorded.get(0))
    features = {'before': before} | features
  except UserError as error:
    logging.warning('Left out of the report: the model before training. %s', error)
    missing = 'Before training: left out, for the starting weights cannot be rebuilt.'
  notes = [_recomputed(_mean_recall(ranks['after']), recorded.get(record.best_step))]
  if 'before' in features:
    notes.append(_gain(ranks['before'], ranks['after'], table))
  return Measured(
    table=table,
    features=features,
    ranks=ranks['after'],
    missing=missing,
    notes=notes,
  )


def _read_table(
  config: ConfigDict, role: str, *, workdir: pathlib.Path
) -> CaptionTable:
  if not role:
    raise UserError('Expected a run that evaluates a split; this one evaluates none.')
  table = build_table(config, config.data[f'{role}_split'])
  path = workdir / DATA_FILE
  prints = json.loads(path.read_text()) if path.is_file() else {}
  if prints.get(role, fingerprint(table)) != fingerprint(table):
    raise UserError(
      f'Expected the images and captions of split {table.split!r} that the run was '
      f'trained with; those in {config.data.root} are others. Give --data_root=FOLDER.'
    )
  return table


def _recorded(record: Record) -> dict[int, float]:
  """Mean recall of the selecting split by step."""
  rows = {step_of(k): row for k, row in record.splits.get(record.selecting, {}).items()}
  return {step: row['mean_recall'] for step, row in rows.items() if step is not None}


def _ranks(features: Features, table: CaptionTable) -> Ranks:
  owner = table.caption_image
  return retrieval_ranks_of(count_not_below(features, owner), owner)


def _mean_recall(ranks: Ranks) -> float:
  return recall_of_ranks(ranks)['mean_recall']


def _gain(before: Ranks, after: Ranks, table: CaptionTable) -> str:
  row = recall_differences([before], [after], table.caption_image)['mean_recall']
  return (
    f'Mean recall on {table.split} after training less that before: '
    f'{row["difference"]:+.2f}, 95 % interval over queries {row["low"]:+.2f} to '
    f'{row["high"]:+.2f}. Other seeds are not in it.'
  )


def _check_start(measured: float, recorded: float | None) -> None:
  if recorded is not None and abs(measured - recorded) > TOLERANCE:
    raise UserError(
      f'Expected the mean recall that step 0 had, {recorded:.2f}; the weights as built '
      f'again have {measured:.2f}.'
    )


def _recomputed(measured: float, recorded: float | None) -> str:
  text = (
    f'Computed anew for this page from the saved weights: mean recall {measured:.2f}'
  )
  if recorded is None:
    return f'{text}.'
  if abs(measured - recorded) <= TOLERANCE:
    return f'{text}, recorded {recorded:.2f}.'
  return f'{text}. It DOES NOT AGREE with the {recorded:.2f} that were recorded.'


def _body(record: Record, measured: Measured | None, *, title: str) -> str:
  results, fields = record.results, record.fields
  counts = {}
  if measured:
    of = measured.table
    counts[record.selecting] = f' of {of.n_images:,} images, {of.n_captions:,} captions'
  notes = cautions(
    fields,
    provenance=record.provenance,
    results=results,
    splits=record.splits,
    skipped=max((row.get('skipped', 0) for row in record.rows), default=0),
  )
  named = {'provenance': record.provenance, 'results': results, 'counts': counts}
  data_name = pathlib.Path(fields['data.root']).name
  chance = {
    split: rows['chance'] for split, rows in record.splits.items() if 'chance' in rows
  }
  parts = [
    f'<h1>{escape(title)}</h1>',
    caution_section([*notes, *(measured.notes if measured else [_WITHOUT_DATA])]),
    overview_section(fields, **named),
    recalls_section(record.splits, counts=counts, data_name=data_name),
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
      read_image, table.image_path(row), max_pixels=fields['data.max_pixels']
    )
    return picture(read, alt=alt)

  gallery = Gallery(table.captions, table.image_files, table.caption_image, show)
  return (
    queries_section(after, measured.ranks, gallery, split=table.split, seed=SEED)
    + classes_section(after.images, captions, table.caption_image, table.image_files)
    + projection_section(
      measured.features, table.caption_image, seed=SEED, missing=measured.missing
    )
  )


def _footer(n_bytes: int) -> str:
  return (
    f'<footer><p><small>Written by harma_jax {__version__}. About '
    f'{n_bytes / 1e6:.1f} MB; nothing is fetched.</small></p></footer>'
  )
