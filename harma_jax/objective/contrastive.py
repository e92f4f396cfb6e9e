"""The softmax loss: InfoNCE whose positives are all captions of an image."""

import jax
import jax.numpy as jnp

from harma_jax.objective.logits import Logits


def contrastive(similarity: jax.Array, same: jax.Array, *, logits: Logits) -> jax.Array:
  """Multi-positive InfoNCE of C anchors among B items, one value per anchor.

  Captions of one image share the target mass, so a repeated image is no false negative:
  `q_ij = same_ij / sum_k same_ik`, and the loss of anchor i is
  `-sum_j q_ij log softmax_j(S_ij / tau)` (HarMA's released code).

  Args:
    similarity: f32[C, B].
    same: bool[C, B], where anchor and item are of one image.
    logits: temperature; a bias would cancel, and is not read.

  Returns:
    f32[C].
  """
  same = same.astype(similarity.dtype)
  targets = same / same.sum(axis=1, keepdims=True)
  logs = jax.nn.log_softmax(similarity / logits.temperature, axis=1)
  return -jnp.sum(targets * logs, axis=1)


def contrastive_repulsion(
  similarity: jax.Array, same: jax.Array, *, logits: Logits
) -> jax.Array:
  """`logsumexp_j S_ij / tau` over the items of other images, f32[C]."""
  values = similarity / logits.temperature
  # All of one image: no others, and no gradient.
  values = jnp.where(same, jnp.finfo(values.dtype).min, values)
  return jax.nn.logsumexp(values, axis=1)
