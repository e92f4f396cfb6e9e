"""The training captions whose gradients conflict most, as a run has noted them."""

import json
import pathlib

from harma_jax.errors import UserError
from harma_jax.rundir.workdir import CONFLICTS_FILE


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
