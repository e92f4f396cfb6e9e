"""The original's losses, of functions that training uses."""

import functools
from collections.abc import Callable, Mapping

import jax.numpy as jnp

from harma_jax.objective.anchors import over_anchors
from harma_jax.objective.contrastive import contrastive
from harma_jax.objective.logits import Logits
from harma_jax.objective.triplet import adaptive_triplet

TRAINED = ('contrastive_multi_positive', 'adaptive_triplet_sum')  # their sum


def objectives_of(*, margin: float, gamma: float) -> Mapping[str, Callable]:
  """The original's losses by its names, each `f(images, texts, ids, temperature)`.

  Features are f32[B, D], unit rows, ids i32[B].
  """
  triplet = functools.partial(_triplet, margin=margin, gamma=gamma)
  # The original's plain losses lack the half; its hardest one sums over anchors.
  return {
    'contrastive_multi_positive': _multi_positive,
    'contrastive_single_positive': _single_positive,
    'adaptive_triplet_sum': triplet(),
    'adaptive_triplet_sum_gamma1_margin04': triplet(gamma=1.0, margin=0.4),
    'plain_triplet_sum': triplet(scale=2.0, gamma=0.0),
    'plain_triplet_hardest': triplet(scale=2.0, gamma=0.0, negatives='hardest'),
  }


def _triplet(*, scale: float = 1.0, **settings) -> Callable:
  loss = functools.partial(
    adaptive_triplet, reduction='sum', mask_same_image=False, **settings
  )
  return lambda u, v, ids, _: scale * over_anchors(loss, u, v, ids).mean()


def _multi_positive(u, v, ids, temperature):
  def loss(similarity, own, same):
    return contrastive(similarity, same, logits=Logits(temperature))

  return over_anchors(loss, u, v, ids).mean()


def _single_positive(u, v, ids, temperature):
  return _multi_positive(u, v, jnp.arange(len(ids)), temperature)
