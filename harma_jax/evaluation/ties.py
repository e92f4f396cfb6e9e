"""Recalls where items tie: the order that favours the model, and all orders' mean.

The recalls of `recall.py` count ties against the model. An order that a sort leaves to
chance gives anything up to `optimistic_recall`, and `expected_recall` on average.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harma_jax.evaluation.recall import (
  RECALLS,
  Recall,
  is_above,
  is_not_below,
  named_recalls,
  none_within,
)

EXPECTED, OPTIMISTIC = '_expected', '_optimistic'  # behind the names of recalls
# All that is recorded of an evaluation, the recalls against the model first.
RECORDED = tuple(
  name + suffix for suffix in ('', EXPECTED, OPTIMISTIC) for name in RECALLS
)
# What may choose a run's step.
SELECTORS = ('mean_recall', f'mean_recall{EXPECTED}')


class Ties(NamedTuple):
  """What the first right item of each query shares its place with.

  Attributes:
    before: i64[queries], wrong items of a higher score than the best right one.
    wrong: i64[queries], wrong items of its score.
    right: i64[queries], right ones of its score, itself included.
  """

  before: np.ndarray
  wrong: np.ndarray
  right: np.ndarray


def retrieval_ties(scores: np.ndarray, caption_image: np.ndarray) -> dict[str, Ties]:
  """`i2t` of the images with captions and `t2i` of the captions, of a whole matrix.

  Args:
    scores: f32[n_images, n_captions], higher is more similar.
    caption_image: i32[n_captions], the image that a caption belongs to.
  """
  right = caption_image[None, :] == np.arange(len(scores))[:, None]
  return {'i2t': _ties(scores, right), 't2i': _ties(scores.T, right.T)}


def _ties(scores: np.ndarray, right: np.ndarray) -> Ties:
  scores, right = scores[right.any(axis=1)], right[right.any(axis=1)]
  best = np.fmax.reduce(np.where(right, scores, np.nan), axis=1)[:, None]
  above = is_above(scores, best)
  beside = is_not_below(scores, best) & ~above
  parts = above, beside & ~right, beside & right
  return Ties(*(part.sum(axis=1) for part in parts))


def hit_chances(ties: Ties, k: int) -> np.ndarray:
  """f64[queries]: the share of all orders of the ties with a right item in the first k.

  Of `right + wrong` items in random order the first `k - before` hold no right one with
  the probability `C(wrong, k - before) / C(right + wrong, k - before)`.
  """
  places = np.clip(k - ties.before, 0, ties.right + ties.wrong)
  return 1 - none_within(ties.right, ties.right + ties.wrong, places)


def expected_recall(ties: dict[str, Ties], *, ks: Sequence[int] = (1, 5, 10)) -> Recall:
  """The mean of the recalls over all orders of the ties, in per cent, exactly."""
  return named_recalls(lambda direction, k: hit_chances(ties[direction], k), ks=ks)


def optimistic_recall(
  ties: dict[str, Ties], *, ks: Sequence[int] = (1, 5, 10)
) -> Recall:
  """The recalls of the order that favours the model, in per cent."""
  return named_recalls(lambda direction, k: ties[direction].before < k, ks=ks)


def recalls_of_ties(ties: dict[str, Ties]) -> Recall:
  """Both, under the names of `recall_at_k` with `EXPECTED` and `OPTIMISTIC` behind."""
  recalls = {EXPECTED: expected_recall(ties), OPTIMISTIC: optimistic_recall(ties)}
  return {
    f'{name}{suffix}': value
    for suffix, recall in recalls.items()
    for name, value in recall.items()
  }


def recorded_of(row: Mapping) -> Recall:
  """The recalls of a row of `metrics.jsonl`, those of `RECORDED` that it has."""
  return {name: row[name] for name in RECORDED if name in row}


def part_of(recall: Recall, suffix: str) -> Recall:
  """The recalls with this suffix, without it; empty where a row of old has none."""
  return {
    name.removesuffix(suffix): value
    for name, value in recall.items()
    if name.endswith(suffix)
  }
