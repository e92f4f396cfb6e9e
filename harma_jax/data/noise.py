"""Wrong captions on purpose, to study what finds them and what they cost.

They are drawn here, or come in tables as RRSITR publishes them: the rows of RSITMD with
a share of the captions permuted, beside the clean table.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.sampler import noise_rng
from harma_jax.data.strings import pack
from harma_jax.errors import UserError


class Noise(NamedTuple):
  """How captions differ from clean ones, row by row.

  Attributes:
    moved: bool[n], the caption is not the one of the clean row.
    wrong: bool[n], it is none of those that the clean table has of its image.
  """

  moved: np.ndarray
  wrong: np.ndarray


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
  captions = pack(table.captions[row] for row in source)
  own = set(zip(table.caption_image.tolist(), table.captions, strict=True))
  placed = zip(table.caption_image.tolist(), captions, strict=True)
  wrong = np.array([pair not in own for pair in placed])
  return dataclasses.replace(table, captions=captions), wrong


def compare_tables(table: CaptionTable, clean: CaptionTable) -> Noise:
  """What captions of a table differ from those of another with the same images.

  Raises:
    UserError: the tables do not name the same images in the same rows.
  """
  return compare_pairs(_pairs(table), _pairs(clean))


def compare_pairs(
  pairs: Sequence[tuple[str, str]], clean: Sequence[tuple[str, str]]
) -> Noise:
  """`compare_tables` of pairs of an image and a caption, a row each.

  Raises:
    UserError: the rows are not of the same images.
  """
  images = zip(pairs, clean, strict=False)
  same = sum(own[0] == other[0] for own, other in images)
  if not same == len(pairs) == len(clean):
    raise UserError(
      f'expected two tables with the same images in the same rows, a clean and a noisy '
      f'one; found {len(pairs)} and {len(clean)} rows, of which {same} are of the same '
      'image. Name the clean file of these rows.'
    )
  known = set(clean)
  return Noise(
    np.array([own != other for own, other in zip(pairs, clean, strict=True)], bool),
    np.array([own not in known for own in pairs], bool),
  )


def _pairs(table: CaptionTable) -> list[tuple[str, str]]:
  files = list(table.image_files)
  owners = table.caption_image.tolist()
  return [
    (files[image], caption)
    for image, caption in zip(owners, table.captions, strict=True)
  ]
