"""The contrastive loss: InfoNCE whose positives are all captions of an image."""

import jax
import jax.numpy as jnp


def contrastive(
  similarity: jax.Array, same: jax.Array, *, temperature: jax.Array
) -> jax.Array:
  """Multi-positive InfoNCE of C anchors among B items, one value per anchor.

  Captions of one image share the target mass, so a repeated image is no false negative:
  `q_ij = same_ij / sum_k same_ik`, and the loss of anchor i is
  `-sum_j q_ij log softmax_j(S_ij / tau)` (HarMA's released code).

  Args:
    similarity: f32[C, B].
    same: bool[C, B], where anchor and item are of one image.
    temperature: f32[], divides the similarities.

  Returns:
    f32[C].
  """
  same = same.astype(similarity.dtype)
  targets = same / same.sum(axis=1, keepdims=True)
  logs = jax.nn.log_softmax(similarity / temperature, axis=1)
  return -jnp.sum(targets * logs, axis=1)
