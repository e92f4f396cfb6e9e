"""Intervals against scipy and single draws, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from harma_jax.evaluation.bootstrap import (
  draw_images,
  hits_by_image,
  recall_differences,
  recall_intervals,
)
from harma_jax.evaluation.recall import recall_of_ranks


def random_ranks(rng, owner, *, highest=15):
  n_images = len(np.unique(owner))
  return {
    'i2t': rng.integers(0, highest, n_images),
    't2i': rng.integers(0, highest, len(owner)),
  }


@pytest.fixture
def owner():
  """Of 40 captions; images 3 and 17 have none."""
  images = np.setdiff1d(np.arange(20), [3, 17])
  return np.random.default_rng(0).permutation(np.r_[images, images, images[:4]])


def test_hits_of_an_image_are_those_of_its_queries():
  ranks = {'i2t': np.array([0, 4]), 't2i': np.array([2, 0, 9])}
  hits, queries = hits_by_image(ranks, np.array([5, 2, 5]), ks=(1, 5))
  # Image 2 has the second caption; image 5 the first and the third.
  assert hits.tolist() == [[1, 1, 1, 1], [0, 1, 0, 1]]
  assert queries.tolist() == [[1, 1, 1, 1], [1, 1, 2, 2]]


def test_intervals_equal_draws_done_one_by_one(owner):
  ranks = random_ranks(np.random.default_rng(1), owner)
  drawn = []
  images = np.unique(owner)
  for weights in draw_images(len(images), resamples=200, seed=3).astype(int):
    places = np.repeat(np.arange(len(images)), weights)
    captions = np.concatenate([np.flatnonzero(owner == images[p]) for p in places])
    drawn.append(
      recall_of_ranks({'i2t': ranks['i2t'][places], 't2i': ranks['t2i'][captions]})
    )
  intervals = recall_intervals(ranks, owner, level=0.9, resamples=200, seed=3)
  assert intervals.keys() == drawn[0].keys()
  for name, interval in intervals.items():
    values = [recall[name] for recall in drawn]
    assert interval == pytest.approx(tuple(np.quantile(values, [0.05, 0.95])))


def test_with_one_caption_an_image_they_equal_scipy():
  rng = np.random.default_rng(2)
  owner = rng.permutation(300)
  ranks = random_ranks(rng, owner)
  intervals = recall_intervals(ranks, owner, resamples=4000)
  for direction, k in (('i2t', 5), ('t2i', 10)):
    theirs = stats.bootstrap(
      [100.0 * (ranks[direction] < k)],
      np.mean,
      n_resamples=4000,
      method='percentile',
      rng=rng,
    ).confidence_interval
    assert intervals[f'{direction}_r{k}'] == pytest.approx(tuple(theirs), abs=0.8)


def test_an_interval_holds_the_truth_in_19_of_20_samples():
  rng = np.random.default_rng(3)
  held = []
  for seed in range(200):
    # A caption is found by chance, and more so where its image is an easy one.
    easy = rng.random(120) < 0.5
    owner = np.repeat(np.arange(120), 5)
    found = rng.random(600) < np.where(easy[owner], 0.8, 0.2)
    ranks = {'i2t': np.zeros(120), 't2i': np.where(found, 0, 9)}
    low, high = recall_intervals(ranks, owner, ks=(1,), resamples=300, seed=seed)[
      't2i_r1'
    ]
    held.append(low <= 50 <= high)
  assert 0.90 <= np.mean(held) <= 0.99


def test_intervals_are_reproducible_and_depend_on_the_seed(owner):
  ranks = random_ranks(np.random.default_rng(4), owner)
  first = recall_intervals(ranks, owner, resamples=50)
  assert first == recall_intervals(ranks, owner, resamples=50)
  assert first != recall_intervals(ranks, owner, resamples=50, seed=1)


def test_a_method_does_not_differ_from_itself(owner):
  ranks = random_ranks(np.random.default_rng(5), owner)
  for row in recall_differences([ranks], [ranks], owner, resamples=100).values():
    assert row['first'] == row['second']
    assert row['difference'] == row['low'] == row['high'] == 0
    assert row['p_value'] == 1


def test_differences_are_of_the_means_over_runs(owner):
  rng = np.random.default_rng(6)
  first = [random_ranks(rng, owner) for _ in range(3)]
  second = [random_ranks(rng, owner, highest=8) for _ in range(2)]
  rows = recall_differences(first, second, owner, resamples=400)
  for name, row in rows.items():
    means = [
      np.mean([recall_of_ranks(ranks)[name] for ranks in runs])
      for runs in (first, second)
    ]
    assert [row['first'], row['second']] == pytest.approx(means)
    assert row['difference'] == pytest.approx(means[1] - means[0])
    assert row['low'] <= row['difference'] <= row['high']
  assert rows['mean_recall']['p_value'] < 0.05
  back = recall_differences(second, first, owner, resamples=400)
  for name, row in rows.items():
    assert back[name]['low'] == pytest.approx(-row['high'])
    assert back[name]['p_value'] == row['p_value']


def test_pairs_of_equal_queries_make_the_interval_narrow():
  rng = np.random.default_rng(7)
  owner = np.arange(400)
  first = random_ranks(rng, owner)
  changed = rng.random(400) < 0.05
  second = {name: np.where(changed, 0, values) for name, values in first.items()}
  row = recall_differences([first], [second], owner, resamples=400)['t2i_r1']
  low, high = recall_intervals(first, owner, resamples=400)['t2i_r1']
  assert 0 < row['low'] < row['high']
  assert row['high'] - row['low'] < high - low
  assert 0 < row['p_value'] < 0.05
