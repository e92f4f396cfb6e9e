"""The training objective: a weighted sum of named losses, each one value per pair."""

import functools
from collections.abc import Callable

import jax
from absl import logging

from harma_jax.errors import UserError, expect
from harma_jax.objective.anchors import DIRECTIONS, over_anchors
from harma_jax.objective.contrast import contrast_of
from harma_jax.objective.triplet import REDUCTIONS, RELEASED_BATCH, adaptive_triplet

Objective = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


def make_objective(
  *,
  contrastive_weight: float,
  triplet_weight: float,
  margin: float,
  gamma: float,
  triplet_reduction: str,
  mask_same_image: bool,
  contrastive: str = 'softmax',
  chunk: int = 0,
) -> Objective:
  """Builds `objective(image_features, text_features, image_ids, *, logits)`.

  It returns the loss f32[] and its terms `{'contrastive': f32[], 'triplet': f32[]}`,
  means over the global batch; a term of weight 0 is neither computed nor returned. Its
  keywords `only` (names of terms) and `directions` compute a part of it; the parts of
  disjoint names, or of both directions, add up to the whole. One matrix of similarities
  feeds both terms; of a batch above `chunk` so many rows of it at a time. The term
  `contrastive` is the `softmax` or the `sigmoid` loss, as `contrastive` says.

  Raises:
    UserError: an unknown loss or reduction, no weight above 0, or a negative chunk.
  """
  if triplet_reduction not in REDUCTIONS:
    raise UserError(
      f'objective.triplet_reduction: expected one of {", ".join(REDUCTIONS)}; '
      f'found {triplet_reduction!r}.'
    )
  expect(chunk >= 0, 'objective.chunk', 'a number of rows, or 0', found=chunk)
  triplet = functools.partial(
    adaptive_triplet,
    margin=margin,
    gamma=gamma,
    reduction=triplet_reduction,
    mask_same_image=mask_same_image,
  )
  contrast = contrast_of(contrastive)
  # Each loss f32[C] is `(similarity, own, same, logits)`.
  table = {
    'contrastive': (
      contrastive_weight,
      lambda similarity, _, same, logits: contrast.loss(
        similarity, same, logits=logits
      ),
    ),
    'triplet': (triplet_weight, lambda *anchors_and_l: triplet(*anchors_and_l[:-1])),
  }
  weights = {name: weight for name, (weight, _) in table.items() if weight}
  if not weights or min(weights.values()) < 0:
    raise UserError(
      'objective: expected weights of 0 or more, one of them above 0; found '
      f'contrastive_weight={contrastive_weight}, triplet_weight={triplet_weight}.'
    )

  def objective(
    image_features,
    text_features,
    image_ids,
    *,
    logits,
    only=tuple(weights),
    directions=DIRECTIONS,
  ):
    chosen = {name: table[name][1] for name in weights if name in only}
    values = over_anchors(
      lambda *anchors: {name: loss(*anchors, logits) for name, loss in chosen.items()},
      image_features,
      text_features,
      image_ids,
      directions=directions,
      chunk=chunk,
    )
    terms = {name: value.mean() for name, value in values.items()}
    return sum(weights[name] * term for name, term in terms.items()), terms

  return objective


def warn_of_sum(*, triplet_reduction: str, triplet_weight: float, batch_size: int):
  """Says what `triplet_reduction='sum'` does at this batch, where it matters."""
  if triplet_reduction != 'sum' or not triplet_weight or batch_size == RELEASED_BATCH:
    return
  ratio = batch_size * (batch_size - 1) / (RELEASED_BATCH * (RELEASED_BATCH - 1))
  logging.warning(
    'objective.triplet_reduction=sum grows with the square of the batch: at %d pairs '
    'the triplet loss weighs %.2g times what it does at the released %d; `mean` keeps '
    'the released balance.',
    batch_size,
    ratio,
    RELEASED_BATCH,
  )
