"""What a run wrote down, from its folder."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from harma_jax.reporting.recalls import best_of, splits_of
from harma_jax.rundir.reading import read_rows
from harma_jax.rundir.results import read_results
from harma_jax.rundir.workdir import (
  METRICS_FILE,
  flat,
  read_provenance,
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


def read_record(workdir: pathlib.Path, config: ConfigDict) -> Record:
  """What the run in `workdir` wrote down; splits are called `val` and `test`."""
  roles = {config.data[f'{role}_split']: role for role in ('test', 'val')}
  rows = [
    row | {'split': roles.get(row['split'], row['split'])} if 'split' in row else row
    for row in read_rows(workdir / METRICS_FILE)
  ]
  results = read_results(workdir)
  measured = [row for row in rows if row.get('kind') == 'evaluation']
  wanted = config.evaluation.select_on
  selector = config.evaluation.select_by
  best = best_of([row for row in measured if row['split'] == wanted], by=selector)
  used = {role: name for name, role in roles.items() if name}
  return Record(
    fields=flat(config),
    provenance=read_provenance(workdir),
    results=results,
    rows=rows,
    splits=results['splits'] if results else splits_of(measured, by=selector),
    best_step=results.get('best_step', best and best['step']),
    selecting=wanted if wanted in used else next(iter(used), ''),
  )
