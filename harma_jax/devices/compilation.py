"""What was compiled: kept for the next start, and how much memory it takes."""

import dataclasses
import os
import pathlib
import stat
import sys
from typing import TYPE_CHECKING

from absl import logging

if TYPE_CHECKING:
  import jax

VARIABLE = 'JAX_COMPILATION_CACHE_DIR'
SHORTEST = 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'
FOLDER = pathlib.Path('~/.cache/harma_jax/compiled')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
  """Bytes of one device that a compiled program takes while it runs.

  Attributes:
    arguments: what it is given.
    outputs: what it returns.
    temporaries: what it holds in between.
    aliased: of the outputs, what lies in the place of donated arguments.
    peak: the most that is in use at once, where the compiler tells it; it may keep more
      as `temporaries`, where gaps between them stay.
  """

  arguments: int
  outputs: int
  temporaries: int
  aliased: int
  peak: int | None = None

  @property
  def total(self) -> int:
    """All of it at once."""
    return self.arguments + self.outputs + self.temporaries - self.aliased

  def __str__(self) -> str:
    return (
      f'{gigabytes(self.total)} (arguments {gigabytes(self.arguments)}, outputs '
      f'{gigabytes(self.outputs)}, {gigabytes(self.aliased)} of them in the place of '
      f'arguments, temporaries {gigabytes(self.temporaries)})'
    )


def gigabytes(count: int) -> str:
  """Bytes in words."""
  return f'{count / 1e9:,.3f} GB'


def memory_of(compiled: 'jax.stages.Compiled') -> Memory | None:
  """What the compiler planned; None where it does not tell."""
  analysis = compiled.memory_analysis()
  if analysis is None:
    return None
  return Memory(
    arguments=analysis.argument_size_in_bytes,
    outputs=analysis.output_size_in_bytes,
    temporaries=analysis.temp_size_in_bytes,
    aliased=analysis.alias_size_in_bytes,
    peak=getattr(analysis, 'peak_memory_in_bytes', 0) or None,
  )


def keep_compiled(folder: pathlib.Path = FOLDER) -> pathlib.Path | None:
  """Lets jax read and write compiled programs in `folder`; returns it.

  What is in there is run: so nothing is kept, and a warning says why, where others than
  the user may write. The environment's `JAX_COMPILATION_CACHE_DIR`, also when empty,
  takes the place of all this but of what is kept: programs that took 0.1 s, unless
  `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` says otherwise.
  """
  if SHORTEST not in os.environ:
    # By jax's 1 s a start would compile its dozen small programs each time.
    _set(SHORTEST, 0.1)
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
  _set(VARIABLE, str(folder))
  return folder


def _set(name: str, value: float | str) -> None:
  """Sets what jax reads of the environment when it is imported, or has read."""
  os.environ[name] = str(value)
  if 'jax' in sys.modules:
    sys.modules['jax'].config.update(name.lower(), value)
