"""The adaptive triplet loss: hinges on the similarities, weighted by their own size."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from harma_jax.objective.contrastive import DIRECTIONS

REDUCTIONS = ('mean', 'sum')
NEGATIVES = ('all', 'hardest')

# The batch of the released training: there `mean` weighs as much as the released `sum`.
RELEASED_BATCH = 428


def adaptive_triplet(
  image_features: jax.Array,
  text_features: jax.Array,
  image_ids: jax.Array,
  *,
  margin: float = 0.2,
  gamma: float = 2.0,
  reduction: str = 'mean',
  negatives: str = 'all',
  mask_same_image: bool = True,
  directions: Sequence[str] = DIRECTIONS,
) -> jax.Array:
  """Adaptive triplet loss, one value per pair.

  A hinge `c = [margin + S_negative - S_positive]_+` counts `(1 - exp(-c))^gamma c`, and
  its weight is differentiated through (HarMA, METHOD 1). `gamma=0` is the plain triplet
  loss. Pair i owns the hinges of its image against all captions and of its caption
  against all images, half of each.

  Args:
    image_features: f32[B, D], unit rows.
    text_features: f32[B, D], unit rows, row i belongs to image i.
    image_ids: i32[B]; equal ids mark captions of one image.
    margin: by how much a positive must be more similar than a negative.
    gamma: exponent of the weight.
    reduction: `sum`: the mean of the values is the sum over all hinges, as released; it
      grows with B^2. `mean`: over a pair's negatives, times `428 * 427` (times 428 for
      `hardest`), so that it equals `sum` at the released batch of 428 and keeps that
      balance at any other.
    negatives: `all`, or only the `hardest` of each anchor.
    mask_same_image: leave out negatives that are captions of the anchor's own image.
    directions: both halves of the loss, or one: images or captions as anchors.

  Returns:
    f32[B]: its mean is the loss.
  """
  similarity = image_features @ text_features.T
  positive = jnp.diagonal(similarity)
  negative = ~jnp.eye(len(similarity), dtype=bool)
  if mask_same_image:
    negative &= image_ids[:, None] != image_ids[None, :]
  settings = {'margin': margin, 'gamma': gamma, 'hardest': negatives == 'hardest'}
  halves = {
    'image_to_text': lambda: _anchor_sums(similarity, positive, negative, **settings),
    'text_to_image': lambda: _anchor_sums(similarity.T, positive, negative, **settings),
  }
  values = 0.5 * sum(halves[name]() for name in directions)
  if reduction == 'sum':
    return values * len(values)
  if negatives == 'hardest':
    return values * RELEASED_BATCH
  counts = jnp.maximum(negative.sum(axis=1), 1)
  return values / counts * (RELEASED_BATCH * (RELEASED_BATCH - 1))


def _anchor_sums(similarity, positive, negative, *, margin, gamma, hardest):
  """f32[B]: the weighted hinges of each row's anchor, summed over its negatives."""
  hinge = jax.nn.relu(margin + similarity - positive[:, None])
  hinge = jnp.where(negative, hinge, 0)
  if hardest:
    hinge = hinge.max(axis=1, keepdims=True)
  if not gamma:
    return hinge.sum(axis=1)
  # At 0 a power below 1 has an infinite slope, which would make the gradient NaN.
  active = jnp.where(hinge > 0, hinge, 1)
  weight = jnp.where(hinge > 0, (1 - jnp.exp(-active)) ** gamma, 0)
  return jnp.sum(weight * hinge, axis=1)
