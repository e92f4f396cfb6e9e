"""Ranks of image-text retrieval in both directions, recall at k and median rank."""

from collections.abc import Callable, Sequence

import numpy as np

Recall = dict[str, float]
# Of every query, `i2t` and `t2i`: how many wrong items stand before or beside its first
# right one. 0 is a hit at 1.
Ranks = dict[str, np.ndarray]
# What a table shows, in this order.
RECALLS = ('i2t_r1', 'i2t_r5', 'i2t_r10', 't2i_r1', 't2i_r5', 't2i_r10', 'mean_recall')


def recall_at_k(
  scores: np.ndarray, caption_image: np.ndarray, *, ks: Sequence[int] = (1, 5, 10)
) -> Recall:
  """Recall at k in per cent, and its mean over both directions and all k.

  An image is found by its best-ranked caption (`i2t`); a caption finds its one image
  (`t2i`). Ties count against the model: an item ranks behind every wrong one of the
  same score, so constant scores find nothing. A score that is not a number ranks last.

  Args:
    scores: f32[n_images, n_captions], higher is more similar.
    caption_image: i32[n_captions], the image that a caption belongs to; any number of
      captions an image, in any order.
    ks: ranks to count up to.

  Returns:
    `i2t_r<k>` over images that have a caption, `t2i_r<k>` over captions, and
    `mean_recall`, the mean of these.

  Raises:
    ValueError: shapes or image numbers that do not fit each other.
  """
  return recall_of_ranks(retrieval_ranks(scores, caption_image), ks=ks)


def retrieval_ranks(scores: np.ndarray, caption_image: np.ndarray) -> Ranks:
  """Ranks of every query, with the arguments and errors of `recall_at_k`.

  Returns:
    `i2t` i64[images with captions], in the order of the images; `t2i` i64[n_captions].
  """
  scores, caption_image = np.asarray(scores), np.asarray(caption_image)
  n_images, n_captions = scores.shape
  if caption_image.shape != (n_captions,) or not n_captions:
    raise ValueError(f'{caption_image.shape=} does not fit {scores.shape=}')
  if caption_image.min() < 0 or caption_image.max() >= n_images:
    raise ValueError(f'caption_image is outside the {n_images} images')
  return {
    'i2t': ranks_of_captions(scores, caption_image),
    't2i': ranks_of_images(scores, caption_image),
  }


def recall_of_ranks(ranks: Ranks, *, ks: Sequence[int] = (1, 5, 10)) -> Recall:
  """What `recall_at_k` returns, from the ranks of the queries."""
  return named_recalls(lambda direction, k: ranks[direction] < k, ks=ks)


def named_recalls(
  hits: Callable[[str, int], np.ndarray], *, ks: Sequence[int]
) -> Recall:
  """The names of `recall_at_k` with what `hits(direction, k)[queries]` makes of them.

  A query's hit is 0, 1, or the probability of one.
  """
  recalls = {
    f'{direction}_r{k}': _share(hits(direction, k))
    for direction in ('i2t', 't2i')
    for k in ks
  }
  return recalls | {'mean_recall': float(np.mean(list(recalls.values())))}


def median_ranks(ranks: Ranks) -> dict[str, float]:
  """`i2t_median_rank` and `t2i_median_rank`: 1.0 where half of the queries hit at 1."""
  return {
    f'{direction}_median_rank': float(np.median(ranks[direction]) + 1)
    for direction in ('i2t', 't2i')
  }


def ranks_of_images(scores: np.ndarray, caption_image: np.ndarray) -> np.ndarray:
  """i64[n_captions]: how many wrong images rank before or beside a caption's own."""
  own = scores[caption_image, np.arange(scores.shape[1])]
  # The own image is at least as good as itself: one too many, unless it is NaN.
  before = is_not_below(scores, own[None, :]).sum(axis=0)
  return before - 1


def ranks_of_captions(scores: np.ndarray, caption_image: np.ndarray) -> np.ndarray:
  """i64[images with captions]: wrong captions before or beside the best right one."""
  right = caption_image[None, :] == np.arange(len(scores))[:, None]
  return ranks_of_best(scores, right)


def ranks_of_best(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
  """i64[rows with a right item]: wrong items before or beside a row's best right one.

  Args:
    scores: f32[queries, items].
    right: bool[queries, items]; rows that are all False are left out.
  """
  best = np.fmax.reduce(np.where(right, scores, np.nan), axis=1)
  before = (is_not_below(scores, best[:, None]) & ~right).sum(axis=1)
  return before[right.any(axis=1)]


def chance_recall(
  caption_image: np.ndarray, n_images: int, *, ks: Sequence[int] = (1, 5, 10)
) -> Recall:
  """The expected `recall_at_k`, in per cent, of a random order.

  A caption finds its image within k of n with probability k/n; an image with c captions
  of N in all finds one of them with `1 - C(N - c, k) / C(N, k)`.
  """
  captions = np.bincount(caption_image, minlength=n_images)
  captions = captions[captions > 0]
  total = len(caption_image)
  recalls = {f'i2t_r{k}': 100 - _share(none_within(captions, total, k)) for k in ks}
  recalls |= {f't2i_r{k}': 100.0 * min(k / n_images, 1.0) for k in ks}
  return recalls | {'mean_recall': float(np.mean(list(recalls.values())))}


def none_within(right, total, k) -> np.ndarray:
  """f64: the probability that the first k of `total` items hold none of the right ones.

  That is `C(total - right, k) / C(total, k)`, the hypergeometric distribution at 0.
  Numbers or arrays of equal shape; no k is above its total but where all are equal.
  """
  right, total, k = (np.atleast_1d(values)[:, None] for values in (right, total, k))
  drawn = np.arange(min(k.max(), total.max()))[None, :]
  left = (total - right - drawn) / np.maximum(total - drawn, 1)
  return np.where(drawn < k, np.clip(left, 0, None), 1.0).prod(axis=1)


def is_above(scores, own):
  """Where `scores` are more than `own`; what is not a number is below all numbers."""
  return (scores > own) | ((scores == scores) & (own != own))


def is_not_below(scores, own):
  """Where `scores` are at least `own`, arrays of NumPy or JAX: how ties are counted.

  What is not a number is below all numbers, and beside its like.
  """
  # What is not a number is not equal to itself.
  return ~(scores < own) & ((scores == scores) | (own != own))


def _share(hits: np.ndarray) -> float:
  return float(100 * np.mean(hits))
