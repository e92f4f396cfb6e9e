"""Images and captions in two dimensions, before and after training."""

from collections.abc import Mapping

import numpy as np

from harma_jax.evaluation.geometry import geometry
from harma_jax.evaluation.ranks import Features
from harma_jax.reporting.charts import scatter
from harma_jax.reporting.page import escape, figure, paragraph, section, table

MOST_PAIRS = 300  # that are drawn
_TITLE = 'Images and captions in two dimensions'


def pca(features: np.ndarray, *, n: int = 2) -> tuple[np.ndarray, np.ndarray]:
  """Principal components, by a singular value decomposition of the centred rows.

  Args:
    features: f[rows, D], two rows or more.
    n: components.

  Returns:
    f64[rows, n], each column up to its sign; and f64[n], the share of the variance.
  """
  centred = np.asarray(features, np.float64)
  centred = centred - centred.mean(axis=0)
  left, singular, _ = np.linalg.svd(centred, full_matrices=False)
  variance = singular**2
  return left[:, :n] * singular[:n], variance[:n] / max(variance.sum(), 1e-300)


def projection_section(
  features: Mapping[str, Features],
  caption_image: np.ndarray,
  *,
  seed: int,
  missing: str,
) -> str:
  """A scatter plot of each state of the model, on axes of one scale, and its geometry.

  Args:
    features: name of a state of the model, `before` or `after` -> features.
    caption_image: i32[n_captions], the image that a caption belongs to.
    seed: of the choice of the pairs that are drawn.
    missing: why a state is not there; '' where none is missing.
  """
  images, captions = _pairs(caption_image)
  finite = all(np.isfinite(part).all() for state in features.values() for part in state)
  if len(images) < 2 or not finite:
    text = 'Left out: there are no two pairs, or features that are not finite.'
    return section(_TITLE, paragraph(text))
  drawn = np.random.default_rng(seed).permutation(len(images))[:MOST_PAIRS]
  planes = {
    name: _plane(of.images[images], of.texts[of.caption_text[captions]])
    for name, of in features.items()
  }
  limit = 1.05 * max(float(np.abs(points).max()) for points, _ in planes.values())
  measured = {name: geometry(*of, caption_image) for name, of in features.items()}
  figures = [
    _figure(name, points, share, drawn=drawn, limit=limit, gap=measured[name])
    for name, (points, share) in planes.items()
  ]
  text = (
    f'The images and one caption of each, {len(images):,} pairs, by their first two '
    'principal components, computed for each plot by itself (the first across, the '
    'second up), at one scale. '
    f'{len(drawn):,} pairs, chosen at random (seed {seed}), are drawn. '
  )
  plots = f'<div class="pair">{"".join(figures)}</div>'
  return section(_TITLE, paragraph(text + missing), plots, _geometry_table(measured))


def _pairs(caption_image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Images that have a caption, and the first caption of each."""
  return np.unique(caption_image, return_index=True)


def _plane(image: np.ndarray, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """f64[2 n, 2], the images first and to the left and below, and the shares."""
  points, share = pca(np.concatenate([image, text]))
  points = points * np.where(points[: len(image)].mean(axis=0) > 0, -1, 1)
  return points, share


def _figure(name: str, points, share, *, drawn, limit: float, gap: dict) -> str:
  n = len(points) // 2
  groups = {'images': points[:n][drawn], 'captions': points[n:][drawn]}
  words = (
    f'{name} training: the two components hold {100 * share.sum():.0f} % of the '
    f'variance; modality gap {gap["modality_gap"]:.3f}'
  )
  return figure(scatter(groups, title=words, limit=limit), escape(words))


def _geometry_table(measured: Mapping[str, dict]) -> str:
  names = {
    'modality_gap': 'modality gap: distance of the mean image from the mean caption',
    'alignment': 'alignment: mean squared distance of an image and its caption',
    'image_uniformity': 'uniformity of images: 0 where all are one, lower is more even',
    'text_uniformity': 'uniformity of captions',
  }
  return table(
    [
      (words, *(f'{of[key]:.3f}' for of in measured.values()))
      for key, words in names.items()
    ],
    header=('in all dimensions', *(f'{name} training' for name in measured)),
    numbers=True,
  )
