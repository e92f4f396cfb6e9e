"""Recalls over the orders of ties: against all orders, and against many random ones."""

import itertools

import numpy as np
import pytest

from harma_jax.evaluation.recall import recall_at_k, recall_of_ranks, retrieval_ranks
from harma_jax.evaluation.ties import (
  Ties,
  expected_recall,
  hit_chances,
  optimistic_recall,
  part_of,
  recalls_of_ties,
  retrieval_ties,
)

KS = (1, 2, 3)


def first_right(order, right):
  return next(place for place, item in enumerate(order) if right[item])


def orders_of(scores):
  """All orders of items that a sort by falling scores may give."""
  levels = sorted(set(scores), reverse=True)
  groups = [[i for i, s in enumerate(scores) if s == level] for level in levels]
  for parts in itertools.product(*map(itertools.permutations, groups)):
    yield [item for part in parts for item in part]


def places_of(scores, right):
  """Of each query, the place of its first right item in every order."""
  return [
    np.array([first_right(order, of) for order in orders_of(row)])
    for row, of in zip(scores, right, strict=True)
    if of.any()
  ]


def by_enumeration(scores, owner, average):
  """Recalls of which a query's hit is an average over all orders."""
  right = owner[None, :] == np.arange(len(scores))[:, None]
  places = {'i2t': places_of(scores, right), 't2i': places_of(scores.T, right.T)}
  recalls = {
    f'{name}_r{k}': 100 * np.mean([average(of < k) for of in queries])
    for name, queries in places.items()
    for k in KS
  }
  return recalls | {'mean_recall': np.mean(list(recalls.values()))}


def tied_scores(rng, *, levels):
  """Few levels, several captions an image, and an image without one."""
  owner = rng.permutation(np.array([0, 0, 1, 1, 1, 3]))
  return rng.integers(0, levels, (4, 6)).astype(np.float32), owner


@pytest.mark.parametrize('levels', [1, 2, 3, 50])
@pytest.mark.parametrize('seed', range(3))
def test_they_are_those_of_all_orders(seed, levels):
  scores, owner = tied_scores(np.random.default_rng(seed), levels=levels)
  ties = retrieval_ties(scores, owner)
  kinds = {
    np.mean: expected_recall(ties, ks=KS),
    np.max: optimistic_recall(ties, ks=KS),
    np.min: recall_at_k(scores, owner, ks=KS),
  }
  for average, found in kinds.items():
    assert found == pytest.approx(by_enumeration(scores, owner, average))


def test_the_expectation_is_the_mean_of_random_breaks():
  rng = np.random.default_rng(0)
  owner = np.repeat(np.arange(12), 5)
  scores = rng.integers(0, 4, (12, 60)).astype(np.float32)
  # Less than the levels are apart: only ties are decided.
  drawn = [
    recall_at_k(scores + rng.random(scores.shape) / 2, owner) for _ in range(600)
  ]
  for name, value in expected_recall(retrieval_ties(scores, owner)).items():
    values = [recall[name] for recall in drawn]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - value) < 4 * error + 1e-9
    assert max(values) <= optimistic_recall(retrieval_ties(scores, owner))[name]


def test_the_ranks_against_the_model_are_all_wrong_ties_before():
  scores, owner = tied_scores(np.random.default_rng(5), levels=2)
  ranks, ties = retrieval_ranks(scores, owner), retrieval_ties(scores, owner)
  for direction, of in ties.items():
    np.testing.assert_array_equal(ranks[direction], of.before + of.wrong)
    assert of.right.min() >= 1
    assert of.wrong.max() > 0


def test_without_ties_the_three_are_one():
  rng = np.random.default_rng(0)
  scores, owner = rng.random((9, 30)), rng.integers(0, 9, 30)
  ties, plain = retrieval_ties(scores, owner), recall_at_k(scores, owner)
  assert expected_recall(ties) == pytest.approx(plain)
  assert optimistic_recall(ties) == plain
  assert recall_of_ranks(retrieval_ranks(scores, owner)) == plain


@pytest.mark.parametrize(
  ('before', 'wrong', 'right', 'k', 'chance'),
  [
    (0, 0, 1, 1, 1.0),
    (0, 1, 1, 1, 1 / 2),
    (4, 1, 1, 5, 1 / 2),
    (5, 0, 1, 5, 0.0),
    (0, 3, 2, 2, 1 - 3 / 5 * 2 / 4),
    (2, 3, 2, 4, 1 - 3 / 5 * 2 / 4),
    (0, 3, 2, 4, 1.0),  # of four places three can be wrong
    (0, 9, 1, 100, 1.0),
  ],
)
def test_the_chance_of_a_hit(before, wrong, right, k, chance):
  ties = Ties(*(np.array([value]) for value in (before, wrong, right)))
  assert hit_chances(ties, k) == pytest.approx([chance])


def test_what_is_not_a_number_is_behind_all_numbers():
  scores = np.array([[np.nan, 1.0, np.nan], [0.5, 0.25, np.nan]], np.float32)
  owner = np.array([0, 1, 1])
  ties = retrieval_ties(scores, owner)
  assert [part.tolist() for part in ties['i2t']] == [[1, 1], [1, 0], [1, 1]]
  assert [part.tolist() for part in ties['t2i']] == [[1, 1, 0], [0, 0, 1], [1, 1, 1]]


def test_a_row_has_each_kind_under_its_name():
  scores, owner = tied_scores(np.random.default_rng(1), levels=2)
  ties = retrieval_ties(scores, owner)
  row = recall_at_k(scores, owner) | recalls_of_ties(ties)
  assert part_of(row, '_expected') == expected_recall(ties)
  assert part_of(row, '_optimistic') == optimistic_recall(ties)
  assert row['mean_recall'] < row['mean_recall_expected']
  assert row['mean_recall_expected'] < row['mean_recall_optimistic']
  assert part_of({'mean_recall': 1.0}, '_expected') == {}
