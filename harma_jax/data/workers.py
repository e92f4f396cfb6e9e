"""What holds for the processes that prepare batches beside the training process."""

import os
import shutil

import jax
import numpy as np

from harma_jax.data.processes import ends_with_parent
from harma_jax.errors import UserError

SHARED_MEMORY = '/dev/shm'  # where Linux keeps it; containers often give 64 MB


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
