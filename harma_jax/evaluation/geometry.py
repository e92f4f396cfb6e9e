"""How the embeddings of images and captions lie on the sphere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

CHUNK = 2**22  # pairs that are held at once


def geometry(
  image_features: np.ndarray,
  text_features: np.ndarray,
  caption_text: np.ndarray,
  caption_image: np.ndarray,
) -> dict[str, float]:
  """Alignment, uniformity of each modality, and the gap between them; lower is better.

  The gap is described, not judged: closing it need not help retrieval.

  Args:
    image_features: f32[n_images, D], of unit length.
    text_features: f32[n_texts, D], of unit length.
    caption_text: i64[n_captions], the row of `text_features` of a caption.
    caption_image: i32[n_captions], the image that a caption belongs to.

  Returns:
    `alignment`, `image_uniformity`, `text_uniformity` and `modality_gap`.

  Raises:
    ValueError: fewer than two images or captions.
  """
  repeats = np.bincount(caption_text, minlength=len(text_features))
  captions = text_features[caption_text]
  return {
    'alignment': alignment(image_features[caption_image], captions),
    'image_uniformity': uniformity(image_features),
    'text_uniformity': uniformity(text_features, repeats=repeats),
    'modality_gap': modality_gap(image_features, captions),
  }


def alignment(first: np.ndarray, second: np.ndarray) -> float:
  """Mean `|u - v|^2` over pairs, 0 to 4 for unit vectors (Wang & Isola, ICML 2020).

  Args:
    first: f32[n, D].
    second: f32[n, D], row i the partner of row i.
  """
  return float(np.mean(np.sum((first - second) ** 2, axis=1, dtype=np.float64)))


def uniformity(
  features: np.ndarray,
  *,
  repeats: np.ndarray | None = None,
  scale: float = 2.0,
  chunk: int = CHUNK,
) -> float:
  """`log mean exp(-scale |x - y|^2)` over all pairs of rows (Wang & Isola, ICML 2020).

  0 where all are the same point, about -4 at best for scale 2 in many dimensions. Equal
  rows, as identical captions have, are pairs as others: given once, with their number,
  they cost no more than one. No pair is left out; the device sums them in chunks.

  Args:
    features: f32[n, D], of unit length.
    repeats: i64[n], how often a row is there; None for once each.
    scale: t of the paper.
    chunk: pairs that are held at once, and at least those of one row.

  Raises:
    ValueError: fewer than two rows.
  """
  repeats = np.ones(len(features), int) if repeats is None else repeats
  n = int(repeats.sum())
  if n < 2:
    raise ValueError(f'expected two rows or more; found {n}')
  rows = max(chunk // len(features), 1)
  placed, times = jnp.asarray(features), jnp.asarray(repeats, jnp.float32)
  total = 0.0
  for start in range(0, len(features), rows):
    own = np.arange(start, min(start + rows, len(features)))
    sums = _closeness_sums(placed, times, own, scale=scale)
    total += repeats[own] @ np.asarray(sums, np.float64)
  return float(np.log(total / (n * (n - 1))))


@functools.partial(jax.jit, static_argnames='scale')
def _closeness_sums(
  features: jax.Array, repeats: jax.Array, rows: jax.Array, *, scale: float
) -> jax.Array:
  """f32[rows]: the sum over all others of `exp(-scale |x - y|^2)`.

  Of unit vectors |x - y|^2 = 2 - 2 x.y.
  """
  highest = jax.lax.Precision.HIGHEST
  cosines = jnp.matmul(features[rows], features.T, precision=highest)
  is_itself = rows[:, None] == jnp.arange(len(features))[None, :]
  # Not the sum less the row itself, of which little would be left.
  weights = repeats[None, :] - is_itself
  return jnp.sum(weights * jnp.exp(2 * scale * (cosines - 1)), axis=1)


def modality_gap(image_features: np.ndarray, text_features: np.ndarray) -> float:
  """`|mean u - mean v|`, 0 to 2 for unit vectors (Liang et al., NeurIPS 2022).

  Args:
    image_features: f32[n_images, D].
    text_features: f32[n_captions, D]; the means need no pairs.
  """
  gap = image_features.mean(axis=0, dtype=np.float64)
  gap = gap - text_features.mean(axis=0, dtype=np.float64)
  return float(np.linalg.norm(gap))
