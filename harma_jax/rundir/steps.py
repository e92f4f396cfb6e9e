"""Folders of saved steps, looked at before orbax takes them for what they say."""

import contextlib
import pathlib
import re
import shlex
from collections.abc import Iterator

from absl import logging

from harma_jax.errors import UserError

# What orbax writes of a step; without the last it would be taken for one not measured.
PARTS = ('trainable/_METADATA', 'rest/_METADATA', 'metrics')

OF_ONE_RUN = 'Bring config.json, checkpoints/ and frozen/ of one run together again.'

# What orbax says of leaves that are others than those asked for.
_OTHERS = 'not compatible with the stored shape|structures do not match'


def check_steps(folder: pathlib.Path) -> None:
  """Looks at all folders that are called as a saved step is.

  Empty ones are removed, and a warning says so: nothing is lost with them. Folders of
  other names are left alone, as orbax leaves them.

  Args:
    folder: that of the checkpoints; it need not be there.

  Raises:
    UserError: one is not empty and lacks parts of a step; says which.
  """
  for path in _step_folders(folder):
    if not any(path.iterdir()):
      _remove_empty(path)
      continue
    missing = [part for part in PARTS if not (path / part).exists()]
    if missing:
      raise _damaged(path, f'no {", ".join(missing)} in it')


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
  """Makes one message of what cannot be read of a saved tree inside.

  Raises:
    UserError: a file below `path` is missing, cut or damaged, or of another model.
  """
  try:
    yield
  except (OSError, ValueError) as error:
    if re.search(_OTHERS, str(error)):
      raise UserError(
        'Expected what a run of this config has saved; found that of another model in '
        f'{path}. {OF_ONE_RUN}'
      ) from error
    cause = _damage(error)
    if cause is None:
      raise
    raise _damaged(path, cause) from error


def _damage(error: OSError | ValueError) -> str | None:
  """What is wrong with the files; tensorstore says it in a ValueError."""
  if isinstance(error, OSError):
    return error.strerror or str(error)
  match = re.match('NOT_FOUND|OUT_OF_RANGE|DATA_LOSS|FAILED_PRECONDITION', str(error))
  return match and f'files are missing or cut ({match[0]})'


def _step_folders(folder: pathlib.Path) -> list[pathlib.Path]:
  paths = folder.iterdir() if folder.is_dir() else ()
  steps = [path for path in paths if path.name.isdecimal() and path.is_dir()]
  return sorted(steps, key=lambda path: int(path.name))


def _remove_empty(path: pathlib.Path) -> None:
  try:
    path.rmdir()
  except FileNotFoundError:  # another process was first
    return
  except OSError as error:
    raise UserError(
      f'Expected saved steps in {path.parent}; found the empty folder {path.name}, '
      f'which cannot be removed: {error.strerror}. Remove it.'
    ) from error
  logging.warning('%s was empty, as a copy that was stopped; it is removed', path)


def _damaged(path: pathlib.Path, found: str) -> UserError:
  what = 'the run then goes on from the step before it, where one is saved'
  if not path.name.isdecimal():
    what = 'without it nothing can go on from the saved steps'
  return UserError(
    f'Expected a whole checkpoint in {path}; found: {found}. Copy it again from where '
    f'the run was, or move it away (mv {shlex.quote(str(path))} ELSEWHERE): {what}.'
  )
