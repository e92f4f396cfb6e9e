"""Validation images from a training split, for data that come without any."""

import dataclasses
import hashlib
import os

import numpy as np

from harma_jax.data.annotations import CaptionTable, select_images
from harma_jax.errors import UserError


def hold_out(
  table: CaptionTable, *, share: float, split: str
) -> tuple[CaptionTable, CaptionTable]:
  """Cuts a table in two, each image with all its captions.

  Those images are held out whose names have the smallest SHA-256: the same ones for any
  seed and order, and few others when images are added.

  Args:
    table: of the training split.
    share: of its images that are held out, between 0 and 1.
    split: how that part is called.

  Returns:
    The rest, under the name that it had, and what is held out.

  Raises:
    UserError: one of the two would be empty.
  """
  count = round(share * table.n_images)
  if not 0 < count < table.n_images:
    raise UserError(
      'data.hold_out: expected a share of the training images that leaves some on both '
      f'sides; found {share:g} of {table.n_images}.'
    )
  digests = [hashlib.sha256(os.fsencode(file)).digest() for file in table.image_files]
  held = np.zeros(table.n_images, bool)
  held[sorted(range(table.n_images), key=digests.__getitem__)[:count]] = True
  part = dataclasses.replace(select_images(table, held), split=split)
  return select_images(table, ~held), part
