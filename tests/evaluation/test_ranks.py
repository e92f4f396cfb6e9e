"""Ranks from features on the device against ranks of the whole matrix, in NumPy."""

import numpy as np
import pytest

from harma_jax.evaluation.ranks import (
  Features,
  count_not_below,
  retrieval_ranks_of,
  retrieval_ties_of,
)
from harma_jax.evaluation.recall import retrieval_ranks
from harma_jax.evaluation.ties import retrieval_ties

N_IMAGES = 17


def random_split(rng, *, levels):
  """Features of whole numbers, whose products are exact; ragged, repeated captions."""
  owner = rng.permutation(np.repeat(np.arange(N_IMAGES), rng.integers(0, 6, N_IMAGES)))
  images, texts = (
    rng.integers(-levels, levels + 1, (rows, 3)).astype(np.float32)
    for rows in (N_IMAGES, 12)
  )
  which = np.concatenate([np.arange(12), rng.integers(0, 12, len(owner) - 12)])
  return Features(images, texts, which), owner


def ranks_of(features, owner, **settings):
  return retrieval_ranks_of(count_not_below(features, owner, **settings), owner)


def reference(features, owner):
  scores = features.images @ features.texts.T
  return retrieval_ranks(scores[:, features.caption_text], owner)


def check_equal(ranks, expected):
  assert ranks.keys() == expected.keys()
  for name, values in expected.items():
    np.testing.assert_array_equal(ranks[name], values)


@pytest.mark.parametrize('chunk', [1, 100, 10**6], ids='chunk {}'.format)
@pytest.mark.parametrize('levels', [1, 1000])
@pytest.mark.parametrize('seed', range(3))
def test_they_are_those_of_the_whole_matrix(seed, levels, chunk):
  features, owner = random_split(np.random.default_rng(seed), levels=levels)
  check_equal(ranks_of(features, owner, chunk=chunk), reference(features, owner))


@pytest.mark.parametrize('chunk', [1, 100, 10**6], ids='chunk {}'.format)
@pytest.mark.parametrize('levels', [1, 2, 1000])
def test_ties_are_those_of_the_whole_matrix(levels, chunk):
  features, owner = random_split(np.random.default_rng(3), levels=levels)
  found = retrieval_ties_of(count_not_below(features, owner, chunk=chunk), owner)
  scores = features.images @ features.texts.T
  expected = retrieval_ties(scores[:, features.caption_text], owner)
  for direction, ties in expected.items():
    for part, values in zip(found[direction], ties, strict=True):
      np.testing.assert_array_equal(part, values)
  assert levels == 1000 or expected['i2t'].right.max() > 1


@pytest.mark.parametrize('chunk', [50, 10**6])
def test_what_is_not_a_number_ranks_last(chunk):
  features, owner = random_split(np.random.default_rng(0), levels=3)
  images, texts, _ = features
  images[[0, 5]], texts[[1, 2]] = np.nan, np.nan
  ranks = ranks_of(features, owner, chunk=chunk)
  check_equal(ranks, reference(features, owner))
  lost = np.isnan(texts[features.caption_text, 0]) | np.isnan(images[owner, 0])
  assert (ranks['t2i'][lost] == N_IMAGES - 1).all()
  assert (ranks['t2i'][~lost] < N_IMAGES - 1).any()


def test_constant_features_find_nothing():
  ones = np.ones((N_IMAGES, 4), np.float32)
  owner = np.arange(N_IMAGES)
  ranks = ranks_of(Features(ones, ones, owner), owner)
  assert (ranks['i2t'] == N_IMAGES - 1).all()
  assert (ranks['t2i'] == N_IMAGES - 1).all()


@pytest.mark.parametrize('n_images', [40, 257])
def test_a_query_always_stands_beside_itself(n_images):
  # Features whose products are rounded: the right score must be the one in the row.
  rng = np.random.default_rng(n_images)
  images = rng.normal(size=(n_images, 64)).astype(np.float32)
  texts = images[rng.permutation(n_images)] + rng.normal(size=(n_images, 64)) / 10
  which = np.repeat(np.arange(n_images), 2)
  owner = rng.permutation(np.repeat(np.arange(n_images), 2))
  features = Features(images, texts.astype(np.float32), which)
  counts = count_not_below(features, owner, chunk=2_000)
  assert counts.t2i.min() >= 1
  assert counts.i2t.min() >= 1
  expected = reference(features, owner)
  for name, ranks in retrieval_ranks_of(counts, owner).items():
    # Elsewhere a product may be rounded to the other side of the own one.
    assert np.mean(ranks == expected[name]) > 0.99
