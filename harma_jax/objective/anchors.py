"""Anchors among items: a batch seen from its images and from its captions.

A loss of C anchors and B items is a function `(similarity f32[C, B], own i32[C], same
bool[C, B]) -> f32[C]`: `own` is the place of an anchor's pair, `same` marks the items
of its image.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

DIRECTIONS = ('image_to_text', 'text_to_image')

AnchorLoss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def over_anchors(
  loss: AnchorLoss,
  image_features: jax.Array,
  text_features: jax.Array,
  image_ids: jax.Array,
  *,
  directions: Sequence[str] = DIRECTIONS,
  chunk: int = 0,
) -> jax.Array:
  """Half the sum of `loss` over both directions, one value per pair.

  Args:
    loss: or a function that returns a tree of such values: one matrix of similarities
      then feeds them all.
    image_features: f32[B, D], unit rows.
    text_features: f32[B, D], unit rows, row i belongs to image i.
    image_ids: i32[B]; equal ids mark captions of one image.
    directions: both, or one: images that look for their captions, or captions that look
      for their image.
    chunk: of a larger batch so many anchors at a time, and again in the backward pass,
      so that B x B similarities are never in memory; 0 for all at once.

  Returns:
    f32[B]; its mean is the loss.
  """
  image_ids = jnp.asarray(image_ids)
  rows = jnp.arange(len(image_ids))

  def of(similarity, rows):
    return loss(similarity, rows, image_ids[rows][:, None] == image_ids[None, :])

  if 0 < chunk < len(rows):
    sides = {
      'image_to_text': (image_features, text_features),
      'text_to_image': (text_features, image_features),
    }
    halves = [_in_chunks(of, *sides[name], chunk=chunk) for name in directions]
  else:
    similarity = image_features @ text_features.T
    sides = {'image_to_text': similarity, 'text_to_image': similarity.T}
    halves = [of(sides[name], rows) for name in directions]
  return jax.tree.map(lambda *values: 0.5 * sum(values), *halves)


def _in_chunks(of: Callable, anchors: jax.Array, items: jax.Array, *, chunk: int):
  """`of(similarity, rows)` of all anchors, at most `chunk` of them at a time."""
  n = len(anchors)
  parts = next(parts for parts in range(-(-n // chunk), n + 1) if n % parts == 0)

  @jax.checkpoint
  def of_part(part):
    features, rows = part
    return of(features @ items.T, rows)

  def cut(array):
    # Every part takes rows from all over the batch, and so from every device.
    return array.reshape(n // parts, parts, *array.shape[1:]).swapaxes(0, 1)

  values = jax.lax.map(of_part, (cut(anchors), cut(jnp.arange(n))))
  return jax.tree.map(lambda value: value.T.reshape(n), values)
