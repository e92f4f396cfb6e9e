"""The adaptive triplet loss: hinges on the similarities, weighted by their own size."""

import jax
import jax.numpy as jnp

REDUCTIONS = ('mean', 'sum')
NEGATIVES = ('all', 'hardest')

# The batch of the released training: there `mean` weighs as much as the released `sum`.
RELEASED_BATCH = 428


def adaptive_triplet(
  similarity: jax.Array,
  own: jax.Array,
  same: jax.Array,
  *,
  margin: float = 0.2,
  gamma: float = 2.0,
  reduction: str = 'mean',
  negatives: str = 'all',
  mask_same_image: bool = True,
) -> jax.Array:
  """Adaptive triplet loss of C anchors among B items, one value per anchor.

  A hinge `c = [margin + S_negative - S_positive]_+` counts `(1 - exp(-c))^gamma c`, and
  its weight is differentiated through (HarMA, METHOD 1). `gamma=0` is the plain triplet
  loss.

  Args:
    similarity: f32[C, B].
    own: i32[C], the item that is an anchor's positive.
    same: bool[C, B], where anchor and item are of one image.
    margin: by how much a positive must be more similar than a negative.
    gamma: exponent of the weight.
    reduction: `sum`: the mean of the values is the sum over all hinges, as released; it
      grows with B^2. `mean`: over a pair's negatives, times `428 * 427` (times 428 for
      `hardest`), so that it equals `sum` at the released batch of 428 and keeps that
      balance at any other.
    negatives: `all`, or only the `hardest` of each anchor.
    mask_same_image: leave out negatives of the anchor's own image.

  Returns:
    f32[C].
  """
  items, hardest = similarity.shape[1], negatives == 'hardest'
  positive = jnp.take_along_axis(similarity, own[:, None], axis=1)
  negative = own[:, None] != jnp.arange(items)[None, :]
  if mask_same_image:
    negative &= ~same
  values = _sums(
    similarity, positive, negative, margin=margin, gamma=gamma, hardest=hardest
  )
  if reduction == 'sum':
    return values * items
  if hardest:
    return values * RELEASED_BATCH
  counts = jnp.maximum(negative.sum(axis=1), 1)
  return values / counts * (RELEASED_BATCH * (RELEASED_BATCH - 1))


def _sums(similarity, positive, negative, *, margin, gamma, hardest):
  """f32[B]: the weighted hinges of each row's anchor, summed over its negatives."""
  hinge = jax.nn.relu(margin + similarity - positive)
  hinge = jnp.where(negative, hinge, 0)
  if hardest:
    hinge = hinge.max(axis=1, keepdims=True)
  if not gamma:
    return hinge.sum(axis=1)
  # At 0 a power below 1 has an infinite slope, which would make the gradient NaN.
  active = jnp.where(hinge > 0, hinge, 1)
  weight = jnp.where(hinge > 0, (1 - jnp.exp(-active)) ** gamma, 0)
  return jnp.sum(weight * hinge, axis=1)
