"""Alignment, uniformity and gap against double loops, and at points known by hand."""

import numpy as np
import pytest

from harma_jax.evaluation.geometry import (
  alignment,
  geometry,
  modality_gap,
  uniformity,
)


def unit_rows(rng, n, size=6):
  rows = rng.normal(size=(n, size))
  return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def features():
  """Images, fewer texts than captions, and the text and the image of a caption."""
  rng = np.random.default_rng(0)
  which = np.concatenate([np.arange(9), rng.integers(0, 9, 14)])
  return unit_rows(rng, 9), unit_rows(rng, 9), which, rng.integers(0, 8, 23)


def slow_uniformity(rows, scale):
  pairs = [
    np.exp(-scale * np.sum((rows[i] - rows[j]).astype(float) ** 2))
    for i in range(len(rows))
    for j in range(i)
  ]
  return np.log(np.mean(pairs))


def test_all_four_equal_loops(features):
  images, texts, which, owner = features
  captions = texts[which]
  pairs = zip(owner, captions, strict=True)
  gap = np.sum(images, axis=0) / 9 - np.sum(captions, axis=0) / 23
  assert geometry(images, texts, which, owner) == pytest.approx(
    {
      'alignment': np.mean([np.sum((images[i] - v) ** 2) for i, v in pairs]),
      'image_uniformity': slow_uniformity(images, 2),
      'text_uniformity': slow_uniformity(captions, 2),
      'modality_gap': np.sqrt(np.sum(gap**2)),
    },
    rel=1e-5,
  )


@pytest.mark.parametrize('chunk', [1, 20, 100])
def test_chunks_and_the_scale_do_as_they_say(features, chunk):
  rows, expected = features[0], slow_uniformity(features[0], 0.7)
  assert uniformity(rows, scale=0.7, chunk=chunk) == pytest.approx(expected, rel=1e-5)


def test_points_by_hand():
  east, north = np.eye(2, dtype=np.float32)
  same, opposite = np.stack([east, east]), np.stack([east, -east])
  assert uniformity(same) == pytest.approx(0, abs=1e-6)
  assert uniformity(opposite) == pytest.approx(-8)
  assert alignment(same, opposite) == 2
  assert modality_gap(same, -same) == 2
  assert modality_gap(same, np.stack([north] * 5)) == pytest.approx(2**0.5)


def test_many_random_directions_are_close_to_the_limit():
  rows = unit_rows(np.random.default_rng(1), 400, size=512)
  assert uniformity(rows) == pytest.approx(-4, abs=0.03)


def test_one_row_has_no_pair():
  with pytest.raises(ValueError, match='found 1'):
    uniformity(np.ones((1, 2), np.float32))
