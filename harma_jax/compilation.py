"""Keeps what was compiled for the next start, in a folder of the user's own."""

import os
import pathlib
import stat

import jax
from absl import logging

VARIABLE = 'JAX_COMPILATION_CACHE_DIR'
FOLDER = pathlib.Path('~/.cache/harma_jax/compiled')


def keep_compiled(folder: pathlib.Path = FOLDER) -> pathlib.Path | None:
  """Lets jax read and write compiled programs in `folder`; returns it.

  What is in there is run: so nothing is kept, and a warning says why, where others than
  the user may write. The environment's `JAX_COMPILATION_CACHE_DIR`, also when empty,
  takes the place of all this.
  """
  if VARIABLE in os.environ:
    return None
  folder = folder.expanduser()
  try:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
  except OSError as error:
    logging.warning('%s; what is compiled is not kept', error)
    return None
  if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    logging.warning(
      '%s: expected a folder of your own that nobody else may write to; what is '
      'compiled is not kept. Run `chmod 700` on it, or set %s.',
      *(folder, VARIABLE),
    )
    return None
  jax.config.update('jax_compilation_cache_dir', str(folder))
  return folder
