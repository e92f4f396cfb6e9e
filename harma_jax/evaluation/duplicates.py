"""Identical captions: ranks that count them as right, and the ceiling of recall.

Two captions are identical when `clean_caption` makes the same string of them: no model
of the text can tell them apart, whichever image they were written for.
"""

from collections.abc import Sequence

import numpy as np

from harma_jax.data.cleaning import clean_caption
from harma_jax.evaluation.ranks import Counts
from harma_jax.evaluation.recall import (
  Ranks,
  Recall,
  is_not_below,
  named_recalls,
  recall_of_ranks,
)
from harma_jax.evaluation.ties import EXPECTED, Ties, hit_chances


def caption_groups(captions: Sequence[str], *, cleaning: str) -> np.ndarray:
  """i64[n_captions]: numbers from 0 on, equal where the captions are identical.

  Captions of which nothing is left are identical to each other.

  Args:
    captions: as annotated.
    cleaning: one of `CLEANINGS`.
  """
  cleaned = [clean_caption(caption, cleaning=cleaning) for caption in captions]
  return np.unique(cleaned, return_inverse=True)[1]


def duplicate_aware_ranks(
  counts: Counts, groups: np.ndarray, caption_image: np.ndarray
) -> Ranks:
  """Ranks where a caption identical to a right one is right, and so is its image.

  Only what counts as right differs from `retrieval_ranks`; all items stay in the list,
  and ties count against the model. No rank is higher than the standard one.

  Args:
    counts: of `count_not_below`; captions of a group have the same scores.
    groups: i64[n_captions] of `caption_groups`.
    caption_image: i32[n_captions].
  """
  first, _ = _pairs(groups, caption_image)
  image, group = caption_image[first], groups[first]
  own, sizes = counts.own[first], np.bincount(groups)
  best = np.full(len(sizes), np.nan, own.dtype)
  np.fmax.at(best, group, own)
  captions = is_not_below(own, counts.best[image]) * sizes[group]
  right = np.bincount(image, weights=captions, minlength=len(counts.i2t)).astype(int)
  images = np.bincount(group, weights=is_not_below(own, best[group])).astype(int)
  # Of a group's captions, the one whose image scores best has the fewest beside it.
  least = np.full(len(sizes), counts.t2i.max())
  np.minimum.at(least, groups, counts.t2i)
  return {
    'i2t': (counts.i2t - right)[np.unique(image)],
    't2i': (least - images)[groups],
  }


def recall_ceiling(
  groups: np.ndarray, caption_image: np.ndarray, *, ks: Sequence[int] = (1, 5, 10)
) -> Recall:
  """The highest standard recall where identical captions get identical scores.

  That is the maximum of `recall_at_k(scores, caption_image)` over all matrices
  `scores[n_images, n_captions]` that are equal in the columns of a group, with ties
  against the model as there. One such matrix reaches all of these recalls at once: an
  image's score is minus the number of the group's captions that belong to others.
  Whether embeddings of a given size can is not asked.
  """
  return recall_of_ranks(ceiling_ranks(groups, caption_image), ks=ks)


def expected_ceiling(
  groups: np.ndarray, caption_image: np.ndarray, *, ks: Sequence[int] = (1, 5, 10)
) -> Recall:
  """The same of `expected_recall`: the maximum of each recall over all such matrices.

  The captions of one group that stand first are the best chance of an image within k.
  Among several groups beside each other it is no higher: the chance of no hit is a mean
  of products `f(j) g(k - j)` of log-concave sequences from 1 on, and none is below both
  `f(k)` and `g(k)`. Which group is the best depends on k, so one matrix need not reach
  all of these recalls. Captions gain nothing by ties of images.
  """
  first, pair = _pairs(groups, caption_image)
  image, group, own = caption_image[first], groups[first], np.bincount(pair)
  others = np.bincount(groups)[group] - own
  place = ceiling_ranks(groups, caption_image)['t2i']

  def hits(direction, k):
    if direction == 't2i':
      return place < k
    best = np.zeros(image.max() + 1)
    np.maximum.at(best, image, hit_chances(Ties(np.zeros_like(own), others, own), k))
    return best[np.unique(image)]

  return named_recalls(hits, ks=ks)


def ceiling_row(groups: np.ndarray, caption_image: np.ndarray) -> Recall:
  """Both ceilings, under the names that recorded recalls have."""
  expected = expected_ceiling(groups, caption_image)
  return recall_ceiling(groups, caption_image) | {
    f'{name}{EXPECTED}': value for name, value in expected.items()
  }


def ceiling_ranks(groups: np.ndarray, caption_image: np.ndarray) -> Ranks:
  """The ranks behind `recall_ceiling`, with `c` captions of an image in a group.

  `t2i`: a group's captions see one order of the images, best by falling `c`; an image's
  rank is its place there. `i2t`: the other images' captions of a group stand beside
  one's own; the group that has the fewest of them comes first.
  """
  first, pair = _pairs(groups, caption_image)
  image, group, own = caption_image[first], groups[first], np.bincount(pair)
  others = np.bincount(groups)[group] - own
  i2t = np.full(image.max() + 1, len(groups))
  np.minimum.at(i2t, image, others)
  order = np.lexsort([-own, group])
  place = np.empty(len(order), int)
  place[order] = np.arange(len(order)) - np.searchsorted(group[order], group[order])
  return {'i2t': i2t[np.unique(image)], 't2i': place[pair]}


def _pairs(
  groups: np.ndarray, caption_image: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The first caption of each pair of an image and a group, and every caption's pair.

  i64[n_pairs], in the order of the images, and i64[n_captions].
  """
  keys = caption_image.astype(np.int64) * (groups.max() + 1) + groups
  _, first, pair = np.unique(keys, return_index=True, return_inverse=True)
  return first, pair
