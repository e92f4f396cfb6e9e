"""What the weights of a run make of its data now, beside what the run recorded."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from absl import logging
from ml_collections import ConfigDict

from harma_jax.building.data import build_table
from harma_jax.building.evaluation import build_evaluation_split, build_features
from harma_jax.building.model import build_model
from harma_jax.building.params import read_start
from harma_jax.data.annotations import CaptionTable, fingerprint
from harma_jax.errors import UserError
from harma_jax.evaluation.bootstrap import recall_differences
from harma_jax.evaluation.ranks import Features, count_not_below, retrieval_ranks_of
from harma_jax.evaluation.recall import Ranks, recall_of_ranks
from harma_jax.reporting.recalls import step_of
from harma_jax.reporting.record import Record
from harma_jax.rundir.workdir import read_fingerprints

TOLERANCE = 0.5  # of mean recall in points, between devices and number formats

_MISSING = 'Before training: left out, for the starting weights cannot be rebuilt.'


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


def measure(
  config: ConfigDict, params: dict, *, workdir: pathlib.Path, record: Record
) -> Measured:
  """Features of the selecting split, with the selected weights and the starting ones.

  Raises:
    UserError: there is no such split, or it cannot be read or is another now.
  """
  table = read_table(config, record.selecting, workdir=workdir)
  model = build_model(config)
  split = build_evaluation_split(config, table, model)
  encode = build_features(config, model)
  recorded = _recorded(record)
  after = encode(params, split)
  ranks = _ranks(after, table)
  notes = [_recomputed(_mean_recall(ranks), recorded.get(record.best_step))]
  try:
    start = read_start(workdir)
    before = encode(start, split)
    _check_start(_mean_recall(_ranks(before, table)), recorded.get(0))
  except UserError as error:
    logging.warning('Left out of the report: the model before training. %s', error)
    features, missing = {'after': after}, _MISSING
  else:
    features, missing = {'before': before, 'after': after}, ''
    gains = {record.selecting: gain_of([_ranks(before, table)], [ranks], table)}
    gains |= _other_gains(config, start, params, workdir=workdir, record=record)
    notes += [words_of_gain(role, gain) for role, gain in gains.items()]
  return Measured(
    table=table, features=features, ranks=ranks, missing=missing, notes=notes
  )


def read_table(config: ConfigDict, role: str, *, workdir: pathlib.Path) -> CaptionTable:
  """The split that a run evaluates as `role`, if it is what the run knew.

  Raises:
    UserError: there is none, or it cannot be read or is another now.
  """
  if not role:
    raise UserError('Expected a run that evaluates a split; this one evaluates none.')
  table = build_table(config, config.data[f'{role}_split'])
  found = fingerprint(table)
  if read_fingerprints(workdir).get(role, found) != found:
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


def _other_gains(
  config: ConfigDict,
  start: Mapping,
  params: Mapping,
  *,
  workdir: pathlib.Path,
  record: Record,
) -> dict[str, dict]:
  """`gain_of` of the evaluated splits that did not select, by their role."""
  gains = {}
  for role in record.splits:
    if role != record.selecting:
      table = read_table(config, role, workdir=workdir)
      before, after = ranks_of(config, [start, params], table)
      gains[role] = gain_of([before], [after], table)
  return gains


def ranks_of(
  config: ConfigDict, params: Sequence[Mapping], table: CaptionTable
) -> list[Ranks]:
  """Ranks of the queries of a split, by each of some parameters."""
  model = build_model(config)
  split = build_evaluation_split(config, table, model)
  encode = build_features(config, model)
  return [_ranks(encode(of_model, split), table) for of_model in params]


def gain_of(
  before: Sequence[Ranks], after: Sequence[Ranks], table: CaptionTable
) -> dict[str, float]:
  """What training added to the mean recall; see `recall_differences`.

  Args:
    before: ranks by the starting weights of each run.
    after: by the selected weights of the same runs.
    table: captions and images of the split.
  """
  return recall_differences(before, after, table.caption_image)['mean_recall']


def words_of_gain(role: str, gain: Mapping[str, float]) -> str:
  """The gain of one run as a sentence."""
  return (
    f'Mean recall on {role} after training less that before: '
    f'{gain["difference"]:+.2f}, 95 % interval over queries {gain["low"]:+.2f} to '
    f'{gain["high"]:+.2f}. Other seeds are not in it.'
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
