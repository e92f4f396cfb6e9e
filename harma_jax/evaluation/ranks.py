"""Ranks of a whole split from its features, on the device, in chunks of images."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harma_jax.evaluation.recall import Ranks, is_above, is_not_below
from harma_jax.evaluation.ties import Ties

CHUNK = 2**22  # scores: 16 MiB, which a CPU handles faster than four times as many


class Features(NamedTuple):
  """What a model makes of a split; captions of the same tokens share a row.

  Attributes:
    images: f32[n_images, D], of unit length.
    texts: f32[n_texts, D], of unit length, no caption twice.
    caption_text: i64[n_captions], the row of `texts` of a caption.
  """

  images: np.ndarray
  texts: np.ndarray
  caption_text: np.ndarray


class Counts(NamedTuple):
  """How many items are more similar than the right one, and how many as similar.

  Attributes:
    own: f32[n_captions], the score of a caption and its own image.
    best: f32[n_images], that of an image's best own caption; NaN where there is none.
    i2t: i64[n_images], captions that are not below `best`, its own ones included.
    t2i: i64[n_captions], images that are not below `own`, its own one included.
    i2t_above: i64[n_images], captions above `best`.
    t2i_above: i64[n_captions], images above `own`.
  """

  own: np.ndarray
  best: np.ndarray
  i2t: np.ndarray
  t2i: np.ndarray
  i2t_above: np.ndarray
  t2i_above: np.ndarray


def count_not_below(
  features: Features, caption_image: np.ndarray, *, chunk: int = CHUNK
) -> Counts:
  """Counts, for every query of both directions, what stands before or beside it.

  Counts give every recall and the median rank at once, ties exactly as `recall.py` and
  `ties.py` have them, and need no sort; `top_k` would say which items are first, for
  one k, and leave open how many more tie with the last of them.

  Scores are products in f32 (`precision=HIGHEST`) of images and distinct texts, so that
  equal captions have equal bits. They are computed twice, by one compiled program: what
  a query is compared with is the very number that stands in its row. One device of each
  process does all of it.

  Args:
    features: of the split.
    caption_image: i32[n_captions], the image that a caption belongs to.
    chunk: scores that are held at once, and at least those of one image.
  """
  n_images, n_captions = len(features.images), len(caption_image)
  rows = max(chunk // n_captions, 1)
  starts = range(0, n_images, rows)
  texts, caption_text = jnp.asarray(features.texts), jnp.asarray(features.caption_text)
  images = [jnp.asarray(features.images[start : start + rows]) for start in starts]
  own = jnp.full(n_captions, jnp.nan, jnp.float32)
  for start, part in zip(starts, images, strict=True):
    own = _own_scores(_scores(texts, part), caption_text, caption_image - start, own)
  own = np.asarray(own)
  best = np.full(n_images, np.nan, np.float32)
  np.fmax.at(best, caption_image, own)
  repeats = np.bincount(features.caption_text, minlength=len(texts))
  counts = [
    _count(_scores(texts, part), repeats, best[start : start + rows], caption_text, own)
    for start, part in zip(starts, images, strict=True)
  ]
  i2t, t2i, i2t_above, t2i_above = zip(*jax.device_get(counts), strict=True)
  of_images = np.concatenate(i2t), np.concatenate(i2t_above)
  of_captions = (np.sum(part, axis=0, dtype=np.int64) for part in (t2i, t2i_above))
  i2t, i2t_above, t2i, t2i_above = *of_images, *of_captions
  return Counts(own, best, i2t, t2i, i2t_above, t2i_above)


def retrieval_ranks_of(counts: Counts, caption_image: np.ndarray) -> Ranks:
  """As `retrieval_ranks` of the whole matrix of scores: the right ones do not count."""
  ties = retrieval_ties_of(counts, caption_image)
  return {direction: of.before + of.wrong for direction, of in ties.items()}


def retrieval_ties_of(counts: Counts, caption_image: np.ndarray) -> dict[str, Ties]:
  """As `retrieval_ties` of the whole matrix of scores."""
  own = is_not_below(counts.own, counts.best[caption_image])
  right = np.bincount(caption_image, weights=own, minlength=len(counts.i2t)).astype(int)
  has_caption = np.isin(np.arange(len(counts.i2t)), caption_image)
  of_images = counts.i2t_above, counts.i2t - counts.i2t_above - right, right
  one = np.ones_like(counts.t2i)
  return {
    'i2t': Ties(*(part[has_caption] for part in of_images)),
    't2i': Ties(counts.t2i_above, counts.t2i - counts.t2i_above - one, one),
  }


@jax.jit
def _scores(texts: jax.Array, images: jax.Array) -> jax.Array:
  return jnp.matmul(texts, images.T, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _own_scores(scores, caption_text, column, own):
  inside = (column >= 0) & (column < scores.shape[1])
  found = scores[caption_text, jnp.where(inside, column, 0)]
  return jnp.where(inside, found, own)


@jax.jit
def _count(scores, repeats, best, caption_text, own):
  of_captions = scores[caption_text]
  counts = []
  for is_counted in (is_not_below, is_above):
    i2t = jnp.sum(is_counted(scores, best[None, :]) * repeats[:, None], axis=0)
    t2i = jnp.sum(is_counted(of_captions, own[:, None]), axis=1)
    counts += [i2t, t2i]
  return counts
