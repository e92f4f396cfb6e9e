"""Recall against a slow ranking, a hand-built table, and the original's results."""

import json

import numpy as np
import pytest

from harma_jax.evaluation.recall import chance_recall, recall_at_k


def slow_recall(scores, owner, ks=(1, 5, 10)):
  """Ranks every query by sorting, wrong items first among equals."""
  n_images, n_captions = scores.shape

  def rank(query_scores, right):
    order = sorted(
      range(len(query_scores)), key=lambda j: (-query_scores[j], j in right)
    )
    return min(position for position, j in enumerate(order) if j in right)

  i2t = [
    rank(scores[i], {j for j in range(n_captions) if owner[j] == i})
    for i in range(n_images)
    if i in owner
  ]
  t2i = [rank(scores[:, j], {owner[j]}) for j in range(n_captions)]
  recalls = {f'i2t_r{k}': 100 * np.mean([r < k for r in i2t]) for k in ks}
  recalls |= {f't2i_r{k}': 100 * np.mean([r < k for r in t2i]) for k in ks}
  return recalls | {'mean_recall': np.mean(list(recalls.values()))}


@pytest.mark.parametrize('levels', [3, 1000])
def test_equals_a_sort_with_ties_against_the_model(levels):
  rng = np.random.default_rng(0)
  owner = rng.permutation(np.repeat(np.arange(20), rng.integers(0, 5, 20)))
  scores = rng.integers(0, levels, (20, len(owner))).astype(np.float32)
  slow = slow_recall(scores, owner.tolist())
  assert recall_at_k(scores, owner) == pytest.approx(slow)


def test_a_table_by_hand():
  scores = np.array([[0.9, 0.1, 0.5], [0.95, 0.2, 0.3]], np.float32)
  # Image 0 owns captions 0 and 1; image 1 owns caption 2.
  recall = recall_at_k(scores, np.array([0, 0, 1]), ks=(1, 2))
  assert recall['i2t_r1'] == 50  # Image 1 finds caption 0 first.
  assert recall['i2t_r2'] == 100
  assert recall['t2i_r1'] == 0  # Every caption prefers the other image.
  assert recall['t2i_r2'] == 100
  assert recall['mean_recall'] == pytest.approx(62.5)


@pytest.mark.parametrize('value', [0.5, np.nan])
def test_constant_scores_find_nothing(value):
  recall = recall_at_k(np.full((20, 100), value), np.repeat(np.arange(20), 5))
  assert recall['mean_recall'] == 0


def test_a_score_that_is_not_a_number_ranks_last():
  scores = np.array([[0.1, np.nan], [np.nan, 0.1]])
  assert recall_at_k(scores, np.array([0, 1]), ks=(1,))['mean_recall'] == 100


def test_chance_is_the_mean_over_random_scores():
  rng = np.random.default_rng(1)
  owner = np.repeat(np.arange(40), rng.integers(1, 6, 40))
  runs = [recall_at_k(rng.random((40, len(owner))), owner) for _ in range(300)]
  chance = chance_recall(owner, 40)
  for name, expected in chance.items():
    assert np.mean([run[name] for run in runs]) == pytest.approx(expected, abs=1.2)


@pytest.mark.parametrize('owner', [[0, 1], [0, 1, 2], [-1, 0, 1]])
def test_owners_that_do_not_fit_are_refused(owner):
  with pytest.raises(ValueError, match='caption_image'):
    recall_at_k(np.zeros((2, 3)), np.array(owner))


@pytest.mark.parametrize(
  ('scores', 'recall', 'owner'),
  [
    ('scores_30', 'recall_30', None),
    ('scores_57', 'recall_57', None),
    ('ragged_scores', 'ragged_recall', 'ragged_owner'),
  ],
)
def test_equals_the_original(reference_dir, scores, recall, owner):
  # The original rounds to two decimals.
  protocol = np.load(reference_dir / 'protocol.npz')
  matrix = protocol[scores]
  five_each = np.repeat(np.arange(len(matrix)), 5)
  ours = recall_at_k(matrix, protocol[owner] if owner else five_each)
  theirs = json.loads(str(protocol[recall]))
  names = {'i2t': 'txt', 't2i': 'img'}
  for direction, original in names.items():
    for k in (1, 5, 10):
      assert round(ours[f'{direction}_r{k}'], 2) == theirs[f'{original}_r{k}']
  assert round(ours['mean_recall'], 2) == theirs['r_mean']
