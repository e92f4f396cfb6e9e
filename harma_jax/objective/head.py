"""The head of a step: from embeddings to what is pulled back through the towers.

A head is a function `(image_features, captions, logits, image_ids, step, products)`
with `captions` a tuple of M arrays f32[B, D], mostly one, `logits` of `Logits`, and
`products` what measures angles elsewhere than on the embeddings, or None. It returns
`Headed`. The plain head gives the gradient of the objective; the harmonized one
realigns and drops.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from absl import logging

from harma_jax.errors import UserError
from harma_jax.objective.alignment import Objective
from harma_jax.objective.anchors import DIRECTIONS
from harma_jax.objective.contrast import Contrast, contrast_of
from harma_jax.objective.curriculum import (
  UNITS,
  Keep,
  as_cosine,
  keep_above,
  keep_all,
  keep_as_many,
  keep_soft,
  linear_at,
)
from harma_jax.objective.harmonize import Loss, harmonize_many
from harma_jax.objective.indicators import INDICATORS, scores_of
from harma_jax.objective.logits import Logits

PAIRS = ('captions', 'uniformity', 'directions', 'objectives')
CURRICULA = ('off', 'drop', 'soft')
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 21


class Headed(NamedTuple):
  """What a head returns.

  Attributes:
    cotangents: of image_features, captions and logits, in their shapes.
    metrics: scalars and short vectors by name; `loss` and its terms among them.
    cosine: f32[M, B] of every caption, or None for the plain head.
    keep: f32[M, B], or None.
  """

  cotangents: tuple
  metrics: dict[str, jax.Array]
  cosine: jax.Array | None = None
  keep: jax.Array | None = None


Head = Callable[..., Headed]


def plain_head(objective: Objective) -> Head:
  """The gradient of the objective, its mean over the captions of an image."""

  def head(image_features, captions, logits, image_ids, step, products=None):
    (loss, terms), cotangents = jax.value_and_grad(
      _mean_objective(objective, image_ids), argnums=(0, 1, 2), has_aux=True
    )(image_features, captions, logits)
    return Headed(cotangents, {'loss': loss, **terms})

  return head


def harmonized_head(
  objective: Objective,
  *,
  pair: str,
  realign: bool,
  curriculum: str,
  indicator: str,
  threshold: tuple[float, float],
  unit: str,
  start_step: int,
  anneal_steps: int,
  renormalize: bool,
  seed: int,
  contrastive: str = 'softmax',
) -> Head:
  """The gradient of the objective after harmonization.

  Args:
    objective: of one caption an image.
    pair: whose gradients are compared: `captions`, an image's losses with each of its
      captions, on the image; `uniformity`, alignment against single-modality
      uniformity, which only judges; `directions` and `objectives`, for study.
    realign: turn conflicting gradients to each other's normal plane.
    curriculum: `off`, `drop` below the threshold, or `soft`.
    indicator: `conflict`, or a control that drops as many: `random`, the highest
      `loss`, the lowest `caption_similarity`.
    threshold: at `start_step` and `anneal_steps` later.
    unit: of the threshold: a `cosine`, or the `share` of a batch that is dropped.
    start_step: before it the gradient is the plain one; cosines are only counted.
    anneal_steps: of the linear rise between the two thresholds.
    renormalize: multiply by the samples over the kept ones.
    seed: of `random`.
    contrastive: the objective's loss, `softmax` or `sigmoid`.

  Raises:
    UserError: an unknown choice, or choices that exclude each other.
  """
  contrast = contrast_of(contrastive)
  losses_of = functools.partial(_losses, pair, objective, contrast)
  _check(
    pair=pair, realign=realign, curriculum=curriculum, indicator=indicator, unit=unit
  )
  if pair in ('directions', 'objectives'):
    logging.warning(
      'harmonization.pair=%s is an inverted indicator: the two losses of a pair agree '
      'most where it is wrong, so dropping by it drops clean pairs. For study only.',
      pair,
    )

  def head(image_features, captions, logits, image_ids, step, products=None):
    embeddings = (image_features, *captions)
    plain = plain_head(objective)(image_features, captions, logits, image_ids, step)
    active = step >= start_step
    level = functools.partial(
      as_cosine,
      linear_at(step, values=threshold, start_step=start_step, steps=anneal_steps),
      unit=unit,
    )
    scores = scores_of(
      indicator,
      image_features,
      captions,
      image_ids,
      contrast=contrast,
      logits=logits,
      key=jax.random.fold_in(jax.random.key(seed), step),
    )

    def keep_of(cosine):
      keep = _rule(curriculum, level(cosine), scores=scores)(cosine)
      return jnp.where(active, keep, jnp.ones_like(keep))

    harmonized = harmonize_many(
      losses_of(captions=len(captions), image_ids=image_ids, logits=logits),
      embeddings,
      shared=(0,) if pair == 'captions' else None,
      realign=active if realign else False,
      keep_of=keep_of,
      renormalize=renormalize,
      products=products,
    )
    cosine, keep = harmonized.cosine, harmonized.keep
    cotangents = harmonized.cotangents
    if pair == 'uniformity':
      cotangents = _weighted(plain.cotangents, keep[0], renormalize=renormalize)
    if pair != 'captions':
      cosine, keep = cosine[:1], keep[:1]
    return Headed(
      (cotangents[0], cotangents[1:], plain.cotangents[2]),
      plain.metrics | {'threshold': level(cosine)} | _statistics(cosine, keep),
      cosine,
      keep,
    )

  return head


def _weighted(cotangents: tuple, keep: jax.Array, *, renormalize: bool) -> tuple:
  """The plain gradient of the images and captions, each sample's times its weight."""
  images, captions, _ = cotangents
  factor = keep * (keep.size / keep.sum() if renormalize else 1.0)
  return tuple(factor[:, None] * gradient for gradient in (images, *captions))


def _mean_objective(objective: Objective, image_ids: jax.Array) -> Callable:
  def mean(image_features, captions, logits):
    results = [
      objective(image_features, caption, image_ids, logits=logits)
      for caption in captions
    ]
    return jax.tree.map(lambda *values: sum(values) / len(values), *results)

  return mean


def _losses(
  pair: str,
  objective: Objective,
  contrast: Contrast,
  *,
  captions: int,
  image_ids: jax.Array,
  logits: Logits,
) -> list[Loss]:
  """The losses that are compared, each of `(image_features, *captions)`."""

  def part(caption=0, share=1.0, **settings):
    return lambda image_features, *texts: (
      share
      * objective(
        image_features,
        texts[caption],
        image_ids,
        logits=logits,
        **settings,
      )[0]
    )

  if pair == 'captions':
    return [part(caption=k, share=1 / captions) for k in range(captions)]
  if pair == 'directions':
    return [part(directions=(direction,)) for direction in DIRECTIONS]
  if pair == 'objectives':
    return [part(only=(name,)) for name in ('contrastive', 'triplet')]
  return [
    # The sigmoid loss only scales this gradient of a sample, which no angle shows.
    lambda image_features, caption: (
      -jnp.mean(jnp.sum(image_features * caption, axis=1) / logits.temperature)
    ),
    lambda *features: jnp.mean(
      sum(_uniformity(each, image_ids, contrast, logits) for each in features)
    ),
  ]


def _uniformity(
  features: jax.Array, image_ids: jax.Array, contrast: Contrast, logits: Logits
) -> jax.Array:
  """f32[B]: how the loss would part embeddings of one modality, of other images."""
  same = image_ids[:, None] == image_ids[None, :]
  return contrast.repulsion(features @ features.T, same, logits=logits)


def _rule(curriculum: str, level: jax.Array, *, scores: jax.Array | None) -> Keep:
  rules = {'off': keep_all, 'drop': keep_above(level), 'soft': keep_soft(level)}
  rule = rules[curriculum]
  return rule if scores is None else keep_as_many(rule, scores)


def _statistics(cosine: jax.Array, keep: jax.Array) -> dict[str, jax.Array]:
  counts, _ = jnp.histogram(cosine, bins=BINS, range=(-1.0, 1.0))
  return {
    'conflict_share': jnp.mean(cosine < 0),
    'kept_share': jnp.mean(keep),
    'cosine_quantiles': jnp.quantile(cosine, jnp.array(QUANTILES)),
    'cosine_histogram': counts,
  }


def _check(
  *, pair: str, realign: bool, curriculum: str, indicator: str, unit: str
) -> None:
  choices = {
    'pair': (pair, PAIRS),
    'curriculum': (curriculum, CURRICULA),
    'indicator': (indicator, INDICATORS),
    'threshold_unit': (unit, UNITS),
  }
  for field, (value, allowed) in choices.items():
    if value not in allowed:
      raise UserError(
        f'harmonization.{field}: expected one of {", ".join(allowed)}; found {value!r}.'
      )
  if realign and pair == 'uniformity':
    raise UserError(
      'harmonization.realign: expected False with pair=uniformity, whose two losses '
      'judge samples but do not make up the objective; found True. '
      'Set --config.harmonization.realign=False.'
    )
  if indicator != 'conflict' and curriculum != 'drop':
    raise UserError(
      f'harmonization.indicator: expected curriculum=drop with {indicator}, which '
      f'drops as many samples as conflict would; found curriculum={curriculum}.'
    )
  if indicator == 'caption_similarity' and pair != 'captions':
    raise UserError(
      'harmonization.indicator: expected pair=captions with caption_similarity; '
      f'found pair={pair}.'
    )
