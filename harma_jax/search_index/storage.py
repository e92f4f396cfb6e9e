"""Files of an index on the disk: whole or not there, and one writer at a time."""

import contextlib
import errno
import fcntl
import os
import pathlib
import uuid
from collections.abc import Iterator

from absl import logging

from harma_jax.errors import UserError

LOCK_FILE = 'lock'
# As some file systems say that they have no flush, of folders mostly.
HAS_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A path to write to instead of `path`, moved there when all is on the disk."""
  # Several programs may write the same file at once.
  new = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
  try:
    yield new
    _flush(new)
    os.replace(new, path)
    _flush(path.parent)
  finally:
    new.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(folder: pathlib.Path) -> Iterator[None]:
  """Makes one message of what the disk refuses inside.

  Raises:
    UserError: `folder` cannot be written; names the cause.
  """
  try:
    yield
  except OSError as error:
    raise UserError(
      f'--out: expected a folder that can be written; found {folder}: '
      f'{error.strerror or error}. Give it space and permission; the same command goes '
      'on. Or give another --out.'
    ) from error


@contextlib.contextmanager
def held(folder: pathlib.Path, *, alone: bool) -> Iterator[None]:
  """Keeps other programs from changing an index until this one leaves, however.

  Args:
    folder: of the index.
    alone: or else together with others that are not alone.

  Raises:
    UserError: another program is in it that does not go with this one.
  """
  with (folder / LOCK_FILE).open('a') as file:
    try:
      kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
      fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UserError(
        f'--out: expected an index that no other program changes; found {folder} in '
        'use. Wait until it ends, stop it, or share the work: --share=I/N for all.'
      ) from error
    except OSError as error:
      logging.warning('%s cannot be locked: %s; start no second one', folder, error)
    yield


def remove_unfinished(folder: pathlib.Path) -> None:
  """Removes what programs left that were killed while they wrote; none may write."""
  # The second kind is that of safetensors, which moves its file, too.
  for kind in ('.*.' + '[0-9a-f]' * 32, '.tmp??????'):
    for path in folder.glob(kind):
      path.unlink(missing_ok=True)


def _flush(path: pathlib.Path) -> None:
  """Waits until a file, or the names in a folder, would outlive a power cut.

  Raises:
    OSError: the disk could not take it, which may be said here first.
  """
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  except OSError as error:
    if error.errno not in HAS_NO_FLUSH:
      raise
  finally:
    os.close(descriptor)
