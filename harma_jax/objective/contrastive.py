"""The contrastive loss: InfoNCE whose positives are all captions of an image."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

DIRECTIONS = ('image_to_text', 'text_to_image')


def contrastive(
  image_features: jax.Array,
  text_features: jax.Array,
  image_ids: jax.Array,
  *,
  temperature: jax.Array,
  directions: Sequence[str] = DIRECTIONS,
) -> jax.Array:
  """Multi-positive InfoNCE, one value per pair.

  Captions of one image share the target mass, so a repeated image is no false negative:
  `q_ij = [id_i = id_j] / sum_k [id_i = id_k]`, and the loss of pair i is
  `-1/2 sum_j q_ij (log softmax_j(S_ij / tau) + log softmax_j(S_ji / tau))`.

  Args:
    image_features: f32[B, D], unit rows.
    text_features: f32[B, D], unit rows, row i belongs to image i.
    image_ids: i32[B]; equal ids mark captions of one image.
    temperature: f32[], divides the similarities.
    directions: both halves of the loss, or one: images that look for their captions, or
      captions that look for their image.

  Returns:
    f32[B]: half the sum of both directions; its mean is the loss (HarMA's released
    code).
  """
  logits = image_features @ text_features.T / temperature
  same = (image_ids[:, None] == image_ids[None, :]).astype(logits.dtype)
  targets = same / same.sum(axis=1, keepdims=True)
  halves = {
    'image_to_text': lambda: jax.nn.log_softmax(logits, axis=1),
    'text_to_image': lambda: jax.nn.log_softmax(logits.T, axis=1),
  }
  return -0.5 * jnp.sum(targets * sum(halves[name]() for name in directions), axis=1)
