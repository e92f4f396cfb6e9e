"""The sigmoid loss: whether a pair belongs together, asked of every pair by itself."""

import math

import jax
import jax.numpy as jnp

from harma_jax.objective.logits import Logits


def sigmoid(similarity: jax.Array, same: jax.Array, *, logits: Logits) -> jax.Array:
  """Sigmoid loss of C anchors among B items, one value per anchor.

  `-sum_j log sigmoid(y_ij (S_ij / tau + b))` with y = 1 for items of the anchor's image
  and -1 for all others (SigLIP, arXiv 2303.15343, whose only positive is the own
  caption). A sum over the items and a mean over the anchors, as published; summed over
  a whole batch it is the same from the images and from the captions.

  Args:
    similarity: f32[C, B].
    same: bool[C, B], where anchor and item are of one image.
    logits: temperature and bias.

  Returns:
    f32[C].
  """
  values = similarity / logits.temperature + logits.bias
  return -jnp.sum(jax.nn.log_sigmoid(jnp.where(same, values, -values)), axis=1)


def sigmoid_repulsion(
  similarity: jax.Array, same: jax.Array, *, logits: Logits
) -> jax.Array:
  """The part of `sigmoid` that other images' items have, f32[C]."""
  values = similarity / logits.temperature + logits.bias
  return jnp.sum(jnp.where(same, 0, jax.nn.softplus(values)), axis=1)


def first_bias(batch: int) -> float:
  """The bias for scalars that have never been trained: `-log(B - 1)`.

  Where similarities are 0, as unrelated features have them, an anchor's loss among B
  items, one of them its own, is `log(1 + exp(-b)) + (B - 1) log(1 + exp(b))`, which is
  least where `sigmoid(b)` is the share 1 / B of the own ones. SigLIP's -10 is about
  this prior of its 32,768 pairs, -10.4 (arXiv 2303.15343: to start close to the prior).
  A lower one first draws all features together, until similarities make up for it.

  Args:
    batch: B, pairs, or images where several captions of one are in it.

  Returns:
    At most 0; 0 of a batch of 1.
  """
  return -math.log(max(batch - 1, 1))
