"""Features of a whole split and their recalls."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from harma_jax.data.images import normalize
from harma_jax.evaluation.recall import Recall, recall_at_k
from harma_jax.mesh import batch_sharding, place_batch, replicated, tree_shardings
from harma_jax.model.clip import Clip


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSplit:
  """What retrieval is evaluated on.

  Attributes:
    name: of the split.
    images: u8[n_images, side, side, 3].
    tokens: i32[n_captions, L].
    caption_image: i32[n_captions], the image that a caption belongs to.
    length: to which captions may be cut without a change; None for L.
  """

  name: str
  images: np.ndarray
  tokens: np.ndarray
  caption_image: np.ndarray
  length: int | None = None


Evaluator = Callable[[dict, EvaluationSplit], Recall]


def make_evaluator(model: Clip, *, mesh: Mesh, batch_size: int) -> Evaluator:
  """Builds `evaluate(params, split) -> recalls in per cent`.

  The towers are compiled once each, for batches of `batch_size` over `mesh`.
  """
  encoders = make_encoders(model, mesh=mesh, batch_size=batch_size)

  def evaluate(params, split):
    image_features, text_features = split_features(params, split, *encoders)
    return recall_at_k(image_features @ text_features.T, split.caption_image)

  return evaluate


def split_features(
  params: dict, split: EvaluationSplit, encode_image: Callable, encode_text: Callable
) -> tuple[np.ndarray, np.ndarray]:
  """Unit features f32[n_images, D] and f32[n_captions, D], by `make_encoders`.

  Equal captions are encoded once, so that they tie exactly.
  """
  # No caption is longer than its end token; a cut changes nothing else.
  tokens = split.tokens[:, : split.length]
  texts, which = np.unique(tokens, axis=0, return_inverse=True)
  text_features = encode_text(params, texts)[which.ravel()]
  return encode_image(params, split.images), text_features


def make_encoders(
  model: Clip, *, mesh: Mesh, batch_size: int
) -> tuple[Callable, Callable]:
  """Builds the encoders of many rows: unit features f32[n, D], a numpy array.

  The first takes `(params, images u8[n, side, side, 3])`, the second `(params, tokens
  i32[n, L])`, of any n.
  """

  def encode_image(params, images):
    return model.encode_image(params, normalize(images))

  return tuple(
    _in_batches(encode, mesh=mesh, batch_size=batch_size)
    for encode in (encode_image, model.encode_text)
  )


def _in_batches(encode: Callable, *, mesh: Mesh, batch_size: int) -> Callable:
  compiled = {}

  def encode_all(params, rows):
    if rows.shape[1:] not in compiled:
      compiled[rows.shape[1:]] = jax.jit(
        encode,
        in_shardings=(tree_shardings(params, mesh=mesh), batch_sharding(mesh)),
        out_shardings=replicated(mesh),
      )
    features = []
    for start in range(0, len(rows), batch_size):
      batch = _padded(rows[start : start + batch_size], length=batch_size)
      placed = place_batch({'rows': _own_part(batch)}, mesh=mesh)['rows']
      features.append(np.asarray(compiled[rows.shape[1:]](params, placed)))
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
