"""Controls: what else than a conflict of gradients may tell a wrong caption."""

import jax
import jax.numpy as jnp

from harma_jax.objective.anchors import over_anchors
from harma_jax.objective.contrast import Contrast
from harma_jax.objective.logits import Logits

INDICATORS = ('conflict', 'random', 'loss', 'caption_similarity')


def scores_of(
  indicator: str,
  image_features: jax.Array,
  captions: tuple[jax.Array, ...],
  image_ids: jax.Array,
  *,
  contrast: Contrast,
  logits: Logits,
  key: jax.Array,
) -> jax.Array | None:
  """f32[M, B] of every caption, high where it is to be kept; without gradient.

  None for `conflict`, which the cosines tell.

  Args:
    indicator: `random`; `loss`, minus the contrastive loss of the pair;
      `caption_similarity`, the inner product with the mean of the image's others.
    image_features: f32[B, D], unit rows.
    captions: M arrays f32[B, D], unit rows.
    image_ids: i32[B].
    contrast: the contrastive loss.
    logits: temperature and bias.
    key: of `random`.
  """
  if indicator == 'conflict':
    return None
  image_features, captions = jax.lax.stop_gradient((image_features, captions))
  stacked = jnp.stack(captions)
  if indicator == 'random':
    return jax.random.uniform(key, stacked.shape[:2])
  if indicator == 'loss':

    def loss(similarity, own, same):
      return contrast.loss(similarity, same, logits=logits)

    losses = [
      over_anchors(loss, image_features, caption, image_ids) for caption in captions
    ]
    return -jnp.stack(losses)
  others = stacked.sum(axis=0, keepdims=True) - stacked
  return jnp.sum(stacked * others, axis=-1) / max(len(captions) - 1, 1)
