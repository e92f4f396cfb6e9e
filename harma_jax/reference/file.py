"""The file that holds what the original implementation computed, and of what.

Arrays are named `weights/...` (under the original's names), `inputs/...`, and by the
kind of quantity: `hidden`, `outputs`, `grads`, `optim`, `losses`. `meta` is JSON.
"""

import os
import pathlib

import numpy as np

from harma_jax.errors import UserError
from harma_jax.weights.tensors import read_npz

NEEDED = ('meta', 'inputs/images_nchw', 'inputs/tokens', 'inputs/image_ids')

# What the losses of a set `losses/<set>/...` are of.
GIVEN = ('image_features', 'text_features', 'image_ids')


def read_reference(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The arrays of a reference file.

  Raises:
    UserError: no such file, not an npz, or without what parity needs.
  """
  reference = read_npz(pathlib.Path(path))
  missing = [name for name in NEEDED if name not in reference]
  if missing or not any(map(is_quantity, reference)):
    raise UserError(
      f'Expected the keys {", ".join(NEEDED)} and quantities to compare in {path}; '
      f'found {", ".join(list(reference)[:5]) or "nothing"}.'
    )
  return reference


def is_quantity(name: str) -> bool:
  """Whether the original computed the array of this name: it is no weight or input."""
  kind, *rest = name.split('/')
  given = kind == 'losses' and rest[-1] in GIVEN
  return kind not in ('weights', 'inputs', 'meta') and not given
