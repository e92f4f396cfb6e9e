"""The training objective: a weighted sum of named losses, each one value per pair."""

from collections.abc import Callable

import jax
from absl import logging

from harma_jax.errors import UserError
from harma_jax.objective.contrastive import DIRECTIONS, contrastive
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
) -> Objective:
  """Builds `objective(image_features, text_features, image_ids, *, temperature)`.

  It returns the loss f32[] and its terms `{'contrastive': f32[], 'triplet': f32[]}`,
  means over the global batch; a term of weight 0 is neither computed nor returned. Its
  keywords `only` (names of terms) and `directions` compute a part of it; the parts of
  disjoint names, or of both directions, add up to the whole.

  Raises:
    UserError: an unknown reduction, or no weight above 0.
  """
  if triplet_reduction not in REDUCTIONS:
    raise UserError(
      f'objective.triplet_reduction: expected one of {", ".join(REDUCTIONS)}; '
      f'found {triplet_reduction!r}.'
    )
  weights = {'contrastive': contrastive_weight, 'triplet': triplet_weight}
  weights = {name: weight for name, weight in weights.items() if weight}
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
    temperature,
    only=tuple(weights),
    directions=DIRECTIONS,
  ):
    features = (image_features, text_features, image_ids)
    losses = {
      'contrastive': lambda: contrastive(
        *features, temperature=temperature, directions=directions
      ),
      'triplet': lambda: adaptive_triplet(
        *features,
        margin=margin,
        gamma=gamma,
        reduction=triplet_reduction,
        mask_same_image=mask_same_image,
        directions=directions,
      ),
    }
    terms = {name: losses[name]().mean() for name in weights if name in only}
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
