"""Features of a whole split, and their recalls and median ranks."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from harma_jax.data.images import normalize
from harma_jax.devices.mesh import (
  batch_sharding,
  place_batch,
  replicated,
  tree_shardings,
)
from harma_jax.errors import UserError
from harma_jax.evaluation.ranks import (
  Features,
  count_not_below,
  retrieval_ranks_of,
  retrieval_ties_of,
)
from harma_jax.evaluation.recall import Recall, median_ranks, recall_of_ranks
from harma_jax.evaluation.resize import resize
from harma_jax.evaluation.ties import recalls_of_ties
from harma_jax.model.clip import Clip


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSplit:
  """What retrieval is evaluated on.

  Attributes:
    name: of the split.
    images: u8[n_images, side, side, 3].
    tokens: i32[n_captions, L].
    caption_image: i32[n_captions], the image that a caption belongs to.
    groups: i64[n_captions] of `caption_groups`, equal for identical captions.
    length: to which captions may be cut without a change; None for L.
  """

  name: str
  images: np.ndarray
  tokens: np.ndarray
  caption_image: np.ndarray
  groups: np.ndarray
  length: int | None = None


Evaluator = Callable[[dict, EvaluationSplit], Recall]


def make_evaluator(model: Clip, *, mesh: Mesh, batch_size: int) -> Evaluator:
  """Builds `evaluate(params, split) -> recalls in per cent, and median ranks`.

  The recalls are those of `recall_at_k` and of `recalls_of_ties`.

  The towers are compiled once each, for batches of `batch_size` over `mesh`.
  """
  features_of = make_features(model, mesh=mesh, batch_size=batch_size)

  def evaluate(params, split):
    counts = count_not_below(features_of(params, split), split.caption_image)
    ranks = retrieval_ranks_of(counts, split.caption_image)
    ties = retrieval_ties_of(counts, split.caption_image)
    return recall_of_ranks(ranks) | recalls_of_ties(ties) | median_ranks(ranks)

  return evaluate


def make_features(
  model: Clip, *, mesh: Mesh, batch_size: int
) -> Callable[[dict, EvaluationSplit], Features]:
  """Builds `features(params, split)`; captions of the same tokens are encoded once.

  It raises UserError where features are not finite: their recalls would mean nothing.
  """
  encode_image, encode_text = make_encoders(model, mesh=mesh, batch_size=batch_size)

  def features(params, split):
    # No caption is longer than its end token; a cut changes nothing else.
    tokens = split.tokens[:, : split.length]
    texts, which = np.unique(tokens, axis=0, return_inverse=True)
    found = Features(
      images=encode_image(params, split.images),
      texts=encode_text(params, texts),
      caption_text=which.ravel(),
    )
    captions = found.texts[found.caption_text]
    _check_finite(split.name, images=found.images, captions=captions)
    return found

  return features


def _check_finite(name: str, **features: np.ndarray) -> None:
  bad = {what: ~np.isfinite(rows).all(axis=1) for what, rows in features.items()}
  counts = {what: np.count_nonzero(rows) for what, rows in bad.items()}
  if any(counts.values()):
    found = ' and '.join(
      f'{count} of {len(bad[what])} {what} (the first is number {bad[what].argmax()})'
      for what, count in counts.items()
      if count
    )
    raise UserError(
      f'{name}: expected finite features; found others of {found}. Evaluate other '
      'weights, or train with a lower --config.optimizer.learning_rate.'
    )


@functools.lru_cache(maxsize=8)
def make_encoders(
  model: Clip, *, mesh: Mesh, batch_size: int
) -> tuple[Callable, Callable]:
  """Builds the encoders of many rows: unit features f32[n, D], a numpy array.

  The first takes `(params, images u8[n, side, side, 3])`, the second `(params, tokens
  i32[n, L])`, of any n. Images u8[n, H, W, 3] of another size, H <= W, are resized on
  the devices first, to Pillow's bits. Stages and seeds of equal models share what was
  compiled.
  """
  side, seen = model.size.image_size, model.size.preprocessing
  rows = batch_sharding(mesh)
  # A program of its own, so that the towers are compiled once for tiles of all sizes,
  # and features do not depend on where a tile was resized.
  to_side = functools.partial(resize, side=side, interpolation=seen.interpolation)
  resized = jax.jit(to_side, out_shardings=rows)

  def encode_image(params, images):
    return model.encode_image(params, normalize(images, **seen.normalisation))

  def of_side(images):
    return images if images.shape[1:3] == (side, side) else resized(images)

  return (
    _in_batches(encode_image, mesh=mesh, batch_size=batch_size, prepare=of_side),
    _in_batches(model.encode_text, mesh=mesh, batch_size=batch_size),
  )


def _in_batches(
  encode: Callable,
  *,
  mesh: Mesh,
  batch_size: int,
  prepare: Callable[[jax.Array], jax.Array] = lambda rows: rows,
) -> Callable:
  compiled = {}

  def encode_all(params, rows):
    kind = jax.tree.structure(params)
    if kind not in compiled:
      compiled[kind] = jax.jit(
        encode,
        in_shardings=(tree_shardings(params, mesh=mesh), batch_sharding(mesh)),
        out_shardings=replicated(mesh),
      )
    features = []
    for start in range(0, len(rows), batch_size):
      batch = _padded(rows[start : start + batch_size], length=batch_size)
      placed = place_batch({'rows': _own_part(batch)}, mesh=mesh)['rows']
      features.append(np.asarray(compiled[kind](params, prepare(placed))))
    return np.concatenate(features)[: len(rows)]

  return encode_all


def _padded(rows: np.ndarray, *, length: int) -> np.ndarray:
  """`rows`, the last one repeated up to `length`, so that one shape is compiled."""
  return np.pad(
    rows, [(0, length - len(rows))] + [(0, 0)] * (rows.ndim - 1), mode='edge'
  )


def _own_part(batch: np.ndarray) -> np.ndarray:
  """This process's contiguous part of a global batch."""
  return np.split(batch, jax.process_count())[jax.process_index()]
