"""What holds for the processes that prepare batches beside the training process."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker

import jax
import numpy as np

from harma_jax.errors import UserError

SHARED_MEMORY = '/dev/shm'  # where Linux keeps it; containers often give 64 MB


@contextlib.contextmanager
def held_signals() -> Iterator[None]:
  """Lets no Ctrl-C or SIGTERM through to this thread, nor ever to what it starts.

  A worker leaves them to the training process, which stops it when it has saved. To
  ignore them once it runs would be too late: it imports for seconds.
  """
  resource_tracker.ensure_running()  # in whose start multiprocessing releases them
  before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def held_interrupts() -> Iterator[None]:
  """Lets no Ctrl-C through to what is started meanwhile: its parent ends it."""
  resource_tracker.ensure_running()  # in whose start multiprocessing releases it
  before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ends_with_parent() -> None:
  """Makes this process end when the one that started it does, however that ends."""
  threading.Thread(target=_end_with_parent, daemon=True).start()


def start_worker(index: int, count: int) -> None:
  """Prepares a new process for its work; grain calls it there before any batch.

  A worker takes no device and does not outlive the training process, however that ends.
  """
  del index, count
  jax.config.update('jax_platforms', 'cpu')  # should anything initialise a backend
  ends_with_parent()


def take_over(batch):
  """Copies the arrays of a batch out of the memory that its worker shares.

  Else they would be freed when the last user lets go of them, which may come too late.
  """
  return jax.tree.map(
    lambda leaf: np.array(leaf) if isinstance(leaf, np.ndarray) else leaf, batch
  )


def check_shared_memory(n_bytes: int) -> None:
  """Checks that batches of `n_bytes` fit where workers hand them over.

  What does not fit would end a worker without a message.

  Raises:
    UserError: they do not.
  """
  if not os.path.isdir(SHARED_MEMORY):
    return
  free = shutil.disk_usage(SHARED_MEMORY).free
  if n_bytes > free:
    raise UserError(
      f'data.workers: expected {n_bytes / 1e6:,.0f} MB of shared memory for batches; '
      f'found {free / 1e6:,.0f} MB free in {SHARED_MEMORY}. Give the container more '
      '(docker run --shm-size=8g), or set --config.data.workers=0.'
    )


def _end_with_parent() -> None:
  multiprocessing.parent_process().join()
  os._exit(1)
