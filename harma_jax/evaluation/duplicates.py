"""Identical captions: ranks that count them as right, and the ceiling of recall.

Two captions are identical when `clean_caption` makes the same string of them: no model
of the text can tell them apart, whichever image they were written for.
"""

from collections.abc import Sequence

import numpy as np

from harma_jax.data.tokenizer import clean_caption
from harma_jax.evaluation.recall import Ranks, Recall, ranks_of_best, recall_at_k


def caption_groups(captions: Sequence[str]) -> np.ndarray:
  """i64[n_captions]: numbers from 0 on, equal where the captions are identical.

  Captions of which nothing is left are identical to each other.
  """
  cleaned = [clean_caption(caption) for caption in captions]
  return np.unique(cleaned, return_inverse=True)[1]


def duplicate_relevance(
  groups: np.ndarray, caption_image: np.ndarray, *, n_images: int
) -> np.ndarray:
  """Which captions and images are right for each other, identical captions included.

  Args:
    groups: i64[n_captions] of `caption_groups`.
    caption_image: i32[n_captions], the image that a caption belongs to.
    n_images: of the split, those without a caption included.

  Returns:
    bool[n_images, n_captions], True where the caption is identical to one of the image.
  """
  return (_captions_in(groups, caption_image, n_images=n_images) > 0)[:, groups]


def duplicate_aware_ranks(
  scores: np.ndarray, groups: np.ndarray, caption_image: np.ndarray
) -> Ranks:
  """Ranks where a caption identical to a right one is right, and so is its image.

  Only what counts as right differs from `retrieval_ranks`; all items stay in the list,
  and ties count against the model. No rank is higher than the standard one.

  Args:
    scores: f32[n_images, n_captions], higher is more similar.
    groups: i64[n_captions] of `caption_groups`.
    caption_image: i32[n_captions].
  """
  right = duplicate_relevance(groups, caption_image, n_images=len(scores))
  return {
    'i2t': ranks_of_best(scores, right),
    't2i': ranks_of_best(scores.T, right.T),
  }


def recall_ceiling(
  groups: np.ndarray,
  caption_image: np.ndarray,
  *,
  n_images: int,
  ks: Sequence[int] = (1, 5, 10),
) -> Recall:
  """The highest standard recall where identical captions get identical scores.

  That is the maximum of `recall_at_k(scores, caption_image)` over all matrices
  `scores[n_images, n_captions]` that are equal in the columns of a group, with ties
  against the model as there. In closed form, with `c(i, g)` captions of image `i` in
  group `g`:
    t2i: a group's captions see one order of the images, best by falling `c`: the
      captions of its k leading images are found, those of the others are not;
    i2t: the other images' captions of a group stand beside one's own, so an image is
      found when in one of its groups fewer than k captions belong to others.
  One matrix, `ceiling_scores`, reaches all of these at once, the mean included. Whether
  embeddings of a given size can is not asked.
  """
  scores = ceiling_scores(groups, caption_image, n_images=n_images)
  return recall_at_k(scores, caption_image, ks=ks)


def ceiling_scores(
  groups: np.ndarray, caption_image: np.ndarray, *, n_images: int
) -> np.ndarray:
  """f64[n_images, n_captions]: equal within a group, and no other such has more recall.

  An image's score is minus the number of the group's captions that belong to others:
  along a column it falls as `c` does, along a row the best group comes first. Fractions
  that depend on the row and on the group alone break the ties of both.
  """
  own = _captions_in(groups, caption_image, n_images=n_images)
  scores = np.where(own > 0, own - own.sum(axis=0), -np.inf)
  scores += np.arange(n_images)[:, None] / n_images
  scores += np.arange(own.shape[1])[None, :] / own.shape[1]
  return scores[:, groups]


def _captions_in(
  groups: np.ndarray, caption_image: np.ndarray, *, n_images: int
) -> np.ndarray:
  """f64[n_images, n_groups]: how many of an image's captions are in a group."""
  own = np.zeros((n_images, groups.max() + 1))
  np.add.at(own, (caption_image, groups), 1)
  return own
