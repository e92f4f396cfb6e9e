"""How the embeddings of images and captions lie on the sphere."""

import numpy as np

GEOMETRY = ('alignment', 'image_uniformity', 'text_uniformity', 'modality_gap')
BLOCK = 1024  # rows of a block of the matrix of all pairs


def geometry(
  image_features: np.ndarray, text_features: np.ndarray, caption_image: np.ndarray
) -> dict[str, float]:
  """Alignment, uniformity of each modality, and the gap between them; lower is better.

  The gap is described, not judged: closing it need not help retrieval.

  Args:
    image_features: f32[n_images, D], of unit length.
    text_features: f32[n_captions, D], of unit length.
    caption_image: i32[n_captions], the image that a caption belongs to.

  Returns:
    A number for each name of `GEOMETRY`.

  Raises:
    ValueError: fewer than two images or captions.
  """
  return {
    'alignment': alignment(image_features[caption_image], text_features),
    'image_uniformity': uniformity(image_features),
    'text_uniformity': uniformity(text_features),
    'modality_gap': modality_gap(image_features, text_features),
  }


def alignment(first: np.ndarray, second: np.ndarray) -> float:
  """Mean `|u - v|^2` over pairs, 0 to 4 for unit vectors (Wang & Isola, ICML 2020).

  Args:
    first: f32[n, D].
    second: f32[n, D], row i the partner of row i.
  """
  return float(np.mean(np.sum((first - second) ** 2, axis=1, dtype=np.float64)))


def uniformity(features: np.ndarray, *, scale: float = 2.0) -> float:
  """`log mean exp(-scale |x - y|^2)` over all pairs of rows (Wang & Isola, ICML 2020).

  0 where all are the same point, about -4 at best for scale 2 in many dimensions. Equal
  rows, as identical captions have, are pairs as others.

  Args:
    features: f32[n, D], of unit length.
    scale: t of the paper.

  Raises:
    ValueError: fewer than two rows.
  """
  n = len(features)
  if n < 2:
    raise ValueError(f'expected two rows or more; found {n}')
  blocks = (features[start : start + BLOCK] for start in range(0, n, BLOCK))
  total = sum(_closeness(block @ features.T, scale).sum() for block in blocks)
  total -= _closeness(np.einsum('nd,nd->n', features, features), scale).sum()
  return float(np.log(total / (n * (n - 1))))


def _closeness(cosines: np.ndarray, scale: float) -> np.ndarray:
  """f64: `exp(-scale |x - y|^2)` of unit vectors, for which |x - y|^2 = 2 - 2 x.y."""
  return np.exp(2 * scale * (cosines.astype(np.float64) - 1))


def modality_gap(image_features: np.ndarray, text_features: np.ndarray) -> float:
  """`|mean u - mean v|`, 0 to 2 for unit vectors (Liang et al., NeurIPS 2022).

  Args:
    image_features: f32[n_images, D].
    text_features: f32[n_captions, D]; the means need no pairs.
  """
  gap = image_features.mean(axis=0, dtype=np.float64)
  gap = gap - text_features.mean(axis=0, dtype=np.float64)
  return float(np.linalg.norm(gap))
