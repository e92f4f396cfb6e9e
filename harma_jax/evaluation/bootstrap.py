"""Bootstrap intervals of recall over queries, of one method and between two.

Queries are drawn image by image: an image that is drawn brings its own query and those
of all its captions. Captions of one image are not independent; drawn one by one they
would give intervals that are too narrow.
"""

from collections.abc import Sequence

import numpy as np

from harma_jax.evaluation.recall import Ranks


def recall_intervals(
  ranks: Ranks,
  caption_image: np.ndarray,
  *,
  ks: Sequence[int] = (1, 5, 10),
  level: float = 0.95,
  resamples: int = 2000,
  seed: int = 0,
) -> dict[str, tuple[float, float]]:
  """Percentile intervals (Efron) of each recall in per cent; see `mean_intervals`."""
  settings = {'ks': ks, 'level': level, 'resamples': resamples, 'seed': seed}
  return mean_intervals([ranks], caption_image, **settings)


def mean_intervals(
  runs: Sequence[Ranks],
  caption_image: np.ndarray,
  *,
  ks: Sequence[int] = (1, 5, 10),
  level: float = 0.95,
  resamples: int = 2000,
  seed: int = 0,
) -> dict[str, tuple[float, float]]:
  """Percentile intervals (Efron) of each recall in per cent, its mean over runs.

  Args:
    runs: of each run `i2t` of the images with captions, `t2i` of the captions.
    caption_image: i32[n_captions], the image that a caption belongs to.
    ks: ranks to count up to.
    level: share of the resamples that an interval holds.
    resamples: how often as many images as there are are drawn with replacement.
    seed: of the draws.

  Returns:
    `(low, high)` by the names of `recall_at_k`.
  """
  hits, queries = _mean_hits(runs, caption_image, ks=ks)
  draws = draw_images(len(hits), resamples=resamples, seed=seed)
  bounds = _bounds(_recalls(hits, queries, draws), level)
  return dict(zip(_names(ks), map(tuple, bounds.T.tolist()), strict=True))


def recall_differences(
  first: Sequence[Ranks],
  second: Sequence[Ranks],
  caption_image: np.ndarray,
  *,
  ks: Sequence[int] = (1, 5, 10),
  level: float = 0.95,
  resamples: int = 2000,
  seed: int = 0,
) -> dict[str, dict[str, float]]:
  """The recall of a second method less that of a first one, on the same queries.

  Both are resampled with the same draws. The interval holds the chance of the queries;
  that of training is in it only as far as the mean over several runs averages it.

  Args:
    first: ranks of each run (a seed, say) of the first method; hits are averaged.
    second: of the second method.
    caption_image, ks, level, resamples, seed: as `recall_intervals`.

  Returns:
    By the names of `recall_at_k`: `first` and `second` in per cent, `difference`, its
    interval from `low` to `high`, and `p_value`, two-sided: twice the share of the
    resamples on the rarer side of 0, both sides holding 0 and one resample more, so
    that it is never 0.
  """
  sides = [_mean_hits(runs, caption_image, ks=ks) for runs in (first, second)]
  n_images = len(sides[0][0])
  draws = draw_images(n_images, resamples=resamples, seed=seed)
  drawn_first, drawn_second = (_recalls(*side, draws) for side in sides)
  measured = [_recalls(*side, np.ones((1, n_images)))[0] for side in sides]
  drawn = drawn_second - drawn_first
  low, high = _bounds(drawn, level)
  rarer = np.minimum((drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0))
  values = {
    'first': measured[0],
    'second': measured[1],
    'difference': measured[1] - measured[0],
    'low': low,
    'high': high,
    'p_value': np.minimum(2 * (rarer + 1) / (resamples + 1), 1.0),
  }
  return {
    name: {key: float(value[column]) for key, value in values.items()}
    for column, name in enumerate(_names(ks))
  }


def hits_by_image(
  ranks: Ranks, caption_image: np.ndarray, *, ks: Sequence[int] = (1, 5, 10)
) -> tuple[np.ndarray, np.ndarray]:
  """Hits and queries of each image, its own query and those of its captions.

  Returns:
    Two f64[images with captions, 2 * len(ks)]; columns i2t at each of `ks`, then t2i.
  """
  _, image, captions = np.unique(caption_image, return_inverse=True, return_counts=True)
  columns = [ranks['i2t'] < k for k in ks]
  columns += [np.bincount(image, weights=ranks['t2i'] < k) for k in ks]
  queries = [np.ones(len(captions))] * len(ks) + [captions] * len(ks)
  return np.stack(columns, axis=1).astype(float), np.stack(queries, axis=1)


def draw_images(n_images: int, *, resamples: int, seed: int) -> np.ndarray:
  """f64[resamples, n_images]: how often each is drawn in `n_images` draws."""
  rng = np.random.default_rng(seed)
  draws = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=resamples)
  return draws.astype(float)  # which is multiplied much faster


def _mean_hits(
  runs: Sequence[Ranks], caption_image: np.ndarray, *, ks: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
  hits, queries = zip(
    *(hits_by_image(run, caption_image, ks=ks) for run in runs), strict=True
  )
  return np.mean(hits, axis=0), queries[0]


def _recalls(hits: np.ndarray, queries: np.ndarray, draws: np.ndarray) -> np.ndarray:
  """f64[resamples, 2 * len(ks) + 1] in per cent, the mean recall last."""
  recalls = 100 * (draws @ hits) / (draws @ queries)
  return np.concatenate([recalls, recalls.mean(axis=1, keepdims=True)], axis=1)


def _bounds(drawn: np.ndarray, level: float) -> np.ndarray:
  """f64[2, columns]: between them lies the share `level` of each column."""
  return np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)


def _names(ks: Sequence[int]) -> list[str]:
  recalls = [f'{direction}_r{k}' for direction in ('i2t', 't2i') for k in ks]
  return [*recalls, 'mean_recall']
