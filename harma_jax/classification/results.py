"""A folder of images classified by the names of its classes."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from harma_jax.classification.accuracies import measure
from harma_jax.classification.features import encode_folders
from harma_jax.classification.folders import Classes
from harma_jax.data.tracking import Track, untracked
from harma_jax.raster.how import DEFAULT, How


class ZeroShotModel(Protocol):
  """What a model can do; `preprocessing['side']` is the pixels that it sees."""

  preprocessing: Mapping

  def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
    """Unit features f32[n, D] of images u8[side, side, 3]."""

  def encode_classes(
    self, classes: Sequence[str], *, templates: Sequence[str]
  ) -> np.ndarray:
    """Unit features f32[C, D] of names."""


def classify_folders(
  models: Mapping[str, ZeroShotModel],
  classes: Classes,
  *,
  batch_size: int,
  skip: bool = False,
  how: How = DEFAULT,
  track: Track = untracked,
) -> dict:
  """Zero-shot accuracies of a model, and of the weights that it started from.

  Args:
    models: `model`, and maybe `before`, which see as many pixels.
    classes: of `read_folders`.
    batch_size: images that are encoded at once.
    skip: leave out images that cannot be read.
    how: what the user says of bands and values.
    track: shows the progress.

  Returns:
    As JSON has it: `n_images`, `templates`, `skipped` (file -> what is wrong) and what
    `measure` gives.

  Raises:
    UserError: an image that cannot be read, unless `skip`, and with it a class that has
      no other; a name without a word.
  """
  encoded = encode_folders(
    {key: model.encode_images for key, model in models.items()},
    classes.images,
    side=models['model'].preprocessing['side'],
    how=how,
    batch_size=batch_size,
    skip=skip,
    track=track,
  )
  names = list(classes.names.values())
  scores = {
    key: encoded.features[key]
    @ model.encode_classes(names, templates=classes.templates).T
    for key, model in models.items()
  }
  return {
    'n_images': len(encoded.labels),
    'templates': classes.templates,
    'skipped': encoded.skipped,
    **measure(scores, encoded.labels, names=classes.names),
  }
