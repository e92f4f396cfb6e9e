"""Methods as they are reported together: one run each, or several seeds."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from harma_jax.building.params import read_start, read_workdir
from harma_jax.errors import UserError
from harma_jax.evaluation.recall import recall_of_ranks
from harma_jax.evaluation.seed_test import seed_test
from harma_jax.reporting.measured import gain_of, ranks_of, read_table
from harma_jax.reporting.record import Record, read_record
from harma_jax.rundir.names import distinct_names
from harma_jax.rundir.seeds import runs_in
from harma_jax.rundir.workdir import read_config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """A run that has ended: its folder, its config and what it wrote down."""

  folder: pathlib.Path
  config: ConfigDict
  record: Record


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
  """What to call a method, and its runs, which differ by their seeds."""

  name: str
  runs: Sequence[Run]

  @property
  def fields(self) -> Mapping:
    """Of the config of its first run, by dotted name."""
    return self.runs[0].record.fields

  @property
  def seeds(self) -> list[int]:
    """Of its runs."""
    return [run.config.seed for run in self.runs]


def read_methods(
  folders: Sequence[str], *, data_root: str | None = None
) -> list[Method]:
  """What work folders, or folders of several seeds, hold.

  Args:
    folders: one for each method.
    data_root: where the data set is now; default: where it was in training.

  Raises:
    UserError: one is neither, is given twice, or has a run that has not ended.
  """
  if len({pathlib.Path(folder).resolve() for folder in folders}) < len(folders):
    raise UserError(
      f'Expected different folders; found one twice in {", ".join(folders)}. '
      'Leave one out.'
    )
  names = distinct_names(folders)
  return [
    Method(name=name, runs=[_read_run(run, data_root) for run in runs_in(folder)])
    for name, folder in zip(names, folders, strict=True)
  ]


def _read_run(folder: pathlib.Path, data_root: str | None) -> Run:
  config = read_config(folder, data_root=data_root)
  record = read_record(folder, config)
  if not record.results:
    raise UserError(
      f'Expected runs that have ended, to report them together; found {folder}, which '
      'has not. Resume it, or leave it out.'
    )
  return Run(folder=folder, config=config, record=record)


def gain_of_method(method: Method, role: str) -> dict:
  """What training added to the mean recall on a split, in the mean over the seeds.

  Returns:
    A row of `recall_differences`; of several seeds with `over_seeds`, of `seed_test`.

  Raises:
    UserError: data or starting weights that are gone, or others now.
  """
  before, after = [], []
  for run in method.runs:
    table = read_table(run.config, role, workdir=run.folder)
    params = read_start(run.folder), read_workdir(run.folder)
    for side, ranks in zip(
      (before, after), ranks_of(run.config, params, table), strict=True
    ):
      side.append(ranks)
  gain = gain_of(before, after, table)
  if len(method.runs) > 1:
    recalls = [[recall_of_ranks(r)['mean_recall'] for r in s] for s in (before, after)]
    gain['over_seeds'] = seed_test(*recalls)
  return gain
