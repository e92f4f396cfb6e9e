"""Files of a run as the disk has them: cut, damaged or of another program."""

import json
import pathlib
from collections.abc import Iterator

from absl import logging

from harma_jax.errors import UserError


def read_json(path: pathlib.Path) -> dict:
  """The object that a file holds.

  Raises:
    UserError: it holds none, as a file that was cut.
  """
  try:
    content = json.loads(path.read_text())
  except (ValueError, OSError) as error:  # no JSON or no UTF-8; not to be read
    raise _no_object(path, str(error)) from error
  if not isinstance(content, dict):
    raise _no_object(path, type(content).__name__)
  return content


def _no_object(path: pathlib.Path, found: str) -> UserError:
  return UserError(
    f'Expected a file of JSON that a run has written, {path}; found: {found}. Copy it '
    'again from where the run was, or give the folder of another run.'
  )


def read_rows(path: pathlib.Path) -> list[dict]:
  """The rows of a file with a JSON object and its `step` on each line.

  A killed run may leave the beginning of a last one behind, which is dropped. Others
  that are damaged are dropped too, and a warning says how many: rows are for the eye,
  and a run goes on from its checkpoints.
  """
  if not path.exists():
    return []
  *lines, _ = path.read_text(errors='replace').split('\n')
  rows = dict(_rows(lines))
  bad = [number for number in range(1, len(lines) + 1) if number not in rows]
  if bad:
    logging.warning(
      '%s: %d of %d lines cannot be read and are left out, the first is line %d',
      *(path, len(bad), len(lines), bad[0]),
    )
  return list(rows.values())


def _rows(lines: list[str]) -> Iterator[tuple[int, dict]]:
  for number, line in enumerate(lines, start=1):
    try:
      row = json.loads(line)
    except ValueError:
      continue
    if isinstance(row, dict) and 'step' in row:
      yield number, row
