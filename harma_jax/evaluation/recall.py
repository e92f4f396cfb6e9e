"""Recall at k of image-text retrieval, in both directions."""

from collections.abc import Sequence

import numpy as np

Recall = dict[str, float]


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
  scores, caption_image = np.asarray(scores), np.asarray(caption_image)
  n_images, n_captions = scores.shape
  if caption_image.shape != (n_captions,) or not n_captions:
    raise ValueError(f'{caption_image.shape=} does not fit {scores.shape=}')
  if caption_image.min() < 0 or caption_image.max() >= n_images:
    raise ValueError(f'caption_image is outside the {n_images} images')
  text_ranks = ranks_of_images(scores, caption_image)
  image_ranks = ranks_of_captions(scores, caption_image)
  recalls = {f'i2t_r{k}': _share(image_ranks < k) for k in ks}
  recalls |= {f't2i_r{k}': _share(text_ranks < k) for k in ks}
  return recalls | {'mean_recall': float(np.mean(list(recalls.values())))}


def ranks_of_images(scores: np.ndarray, caption_image: np.ndarray) -> np.ndarray:
  """i64[n_captions]: how many wrong images rank before or beside a caption's own."""
  own = scores[caption_image, np.arange(scores.shape[1])]
  # The own image is at least as good as itself: one too many, unless it is NaN.
  before = _not_below(scores, own[None, :]).sum(axis=0)
  return before - 1


def ranks_of_captions(scores: np.ndarray, caption_image: np.ndarray) -> np.ndarray:
  """i64[images with captions]: wrong captions before or beside the best right one."""
  right = caption_image[None, :] == np.arange(len(scores))[:, None]
  best = np.fmax.reduce(np.where(right, scores, np.nan), axis=1)
  before = (_not_below(scores, best[:, None]) & ~right).sum(axis=1)
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
  recalls = {f'i2t_r{k}': 100 - _share(_none_within(captions, total, k)) for k in ks}
  recalls |= {f't2i_r{k}': 100.0 * min(k / n_images, 1.0) for k in ks}
  return recalls | {'mean_recall': float(np.mean(list(recalls.values())))}


def _none_within(captions: np.ndarray, total: int, k: int) -> np.ndarray:
  """f64: probability that none of `captions` of `total` is among the first k."""
  drawn = np.arange(min(k, total))
  left = (total - captions[:, None] - drawn[None, :]) / (total - drawn)[None, :]
  return np.clip(left, 0, None).prod(axis=1)


def _not_below(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
  """Where `scores` are at least `own`: everywhere, where `own` is not a number."""
  return ~(scores < own) & ~(np.isnan(scores) & ~np.isnan(own))


def _share(hits: np.ndarray) -> float:
  return float(100 * np.mean(hits))
