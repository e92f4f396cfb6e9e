"""A run's folder, taken for one run alone, with what an earlier start left in it."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import jax
from ml_collections import ConfigDict

from harma_jax.devices.processes import agree
from harma_jax.rundir.checkpoint import Checkpoints
from harma_jax.rundir.metrics import RunLog, drop_rows_after
from harma_jax.rundir.workdir import CONFLICTS_FILE, METRICS_FILE, claim, held


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFolder:
  """What a run reads and writes on the disk while it lasts."""

  path: pathlib.Path
  checkpoints: Checkpoints
  log: RunLog


@contextlib.contextmanager
def opened(
  path: pathlib.Path,
  config: ConfigDict,
  *,
  data: Mapping[str, str],
  tokenizer: Sequence[pathlib.Path] = (),
  keep: int,
  keep_every: int,
  total_steps: int,
  steps_per_epoch: int,
  pairs_per_step: int,
  log_every: int,
  evaluate_every: int,
) -> Iterator[RunFolder]:
  """Takes the folder, and forgets what was logged after its last checkpoint.

  Args:
    path: new, or of an earlier start.
    config: of the run, which the folder keeps and compares whole.
    data: see `claim`, as `tokenizer`.
    tokenizer: files of it.
    keep: see `Checkpoints`.
    keep_every: see `Checkpoints`.
    total_steps: of the run.
    steps_per_epoch: of its log, as the rest.
    pairs_per_step: for pairs/s.
    log_every: steps between two lines.
    evaluate_every: steps between two evaluations.

  Raises:
    UserError: it belongs to another config or other data, another process is in it, or
      it cannot be written; processes that see different folders.
  """
  is_first = jax.process_index() == 0
  claim(path, config, data=dict(data), tokenizer=tokenizer, write=is_first)
  with (
    held(path, hold=is_first),
    contextlib.closing(Checkpoints(path, keep=keep, keep_every=keep_every)) as found,
  ):
    last_saved = found.latest_step()
    agree({f'last step saved in {path}': str(last_saved)})
    if is_first and (path / CONFLICTS_FILE).exists():
      drop_rows_after(path / CONFLICTS_FILE, last_saved)
    log = RunLog(
      path / METRICS_FILE,
      last_saved=last_saved,
      total_steps=total_steps,
      steps_per_epoch=steps_per_epoch,
      batch_size=pairs_per_step,
      log_every=log_every,
      evaluate_every=evaluate_every,
    )
    yield RunFolder(path=path, checkpoints=found, log=log)
