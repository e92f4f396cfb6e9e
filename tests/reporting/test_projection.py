"""Principal components beside a plain reference, and the section that shows them."""

import re

import numpy as np
import pytest

from harma_jax.evaluation.geometry import geometry
from harma_jax.evaluation.ranks import Features
from harma_jax.reporting.projection import pca, projection_section


def unit(rng, *shape):
  rows = rng.normal(size=shape)
  return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def plain_pca(features, n):
  """By the eigenvectors of the covariance matrix."""
  centred = features - features.mean(axis=0)
  values, vectors = np.linalg.eigh(np.cov(centred.T.astype(np.float64)))
  order = np.argsort(values)[::-1][:n]
  return centred @ vectors[:, order], values[order] / values.sum()


@pytest.mark.parametrize('shape', [(40, 6), (5, 12)])
def test_components_are_those_of_the_covariance(shape):
  features = unit(np.random.default_rng(0), *shape)
  points, share = pca(features)
  expected, expected_share = plain_pca(features, 2)
  np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-6)
  np.testing.assert_allclose(share, expected_share, atol=1e-6)
  # Both columns have the same relation of signs in all rows.
  signs = np.sign(points) * np.sign(expected)
  assert (signs == signs[0]).all()


def test_equal_rows_have_no_variance():
  points, share = pca(np.ones((3, 4)))
  np.testing.assert_allclose(points, 0, atol=1e-12)
  np.testing.assert_array_equal(share, 0)


@pytest.fixture
def states():
  rng = np.random.default_rng(1)
  return {
    name: Features(unit(rng, 4, 8), unit(rng, 7, 8), np.array([0, 1, 2, 3, 4, 5, 6, 0]))
    for name in ('before', 'after')
  }


OWNERS = np.repeat(np.arange(4), 2)


def test_both_states_have_axes_of_one_scale_and_their_gap(states):
  text = projection_section(states, OWNERS, seed=0, missing='')
  assert text.count('<svg role="img"') == 2
  labels = [
    re.findall(r'>(-?[\d.]+)</text>', svg) for svg in text.split('<svg role')[1:]
  ]
  assert labels[0] == labels[1]
  for features in states.values():
    measured = geometry(*features, OWNERS)
    assert f'modality gap {measured["modality_gap"]:.3f}' in text
    assert f'<td>{measured["alignment"]:.3f}</td>' in text
  assert '<th scope="col">before training</th><th scope="col">after training' in text


def test_a_missing_state_is_said(states):
  text = projection_section(
    {'after': states['after']}, OWNERS, seed=0, missing='Left out: gone.'
  )
  assert text.count('<svg role="img"') == 1
  assert 'Left out: gone.' in text


def test_features_that_are_not_finite_leave_it_out(states):
  states['after'].images[0, 0] = np.nan
  text = projection_section(states, OWNERS, seed=0, missing='')
  assert 'Left out' in text
  assert '<svg' not in text
