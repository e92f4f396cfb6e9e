"""Wrong captions on purpose, to study what finds them and what they cost."""

import dataclasses

import numpy as np

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.sampler import noise_rng


def swap_captions(
  table: CaptionTable, *, share: float, seed: int
) -> tuple[CaptionTable, np.ndarray]:
  """Lets a share of the captions change places between images.

  Captions are drawn at random and passed on around a circle, so each image keeps its
  number of captions and no caption is lost.

  Args:
    table: of a training split.
    share: of the captions, 0 to 1.
    seed: of the choice.

  Returns:
    The new table, and bool[n_captions]: which captions now differ from every caption
    that their image had before.
  """
  rng = noise_rng(seed)
  chosen = rng.permutation(table.n_captions)[: round(share * table.n_captions)]
  source = np.arange(table.n_captions)
  source[chosen] = np.roll(chosen, 1)
  captions = tuple(table.captions[row] for row in source)
  own = set(zip(table.caption_image.tolist(), table.captions, strict=True))
  placed = zip(table.caption_image.tolist(), captions, strict=True)
  wrong = np.array([pair not in own for pair in placed])
  return dataclasses.replace(table, captions=captions), wrong
