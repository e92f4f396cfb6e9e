"""Relevance and ranks against loops over strings, the ceiling against all orders."""

import itertools

import numpy as np
import pytest

from harma_jax.data.annotations import load_captions
from harma_jax.data.cleaning import clean_caption
from harma_jax.data.tokenizer import tokenize_table
from harma_jax.evaluation.duplicates import (
  caption_groups,
  ceiling_ranks,
  duplicate_aware_ranks,
  expected_ceiling,
  recall_ceiling,
)
from harma_jax.evaluation.ranks import Features, count_not_below
from harma_jax.evaluation.recall import recall_at_k, retrieval_ranks
from harma_jax.evaluation.ties import expected_recall, retrieval_ties

KS = (1, 2, 3)


def random_captions(rng, *, n_images, most=4, words=5):
  """Captions of few words, hence with duplicates, and their images in any order."""
  counts = rng.integers(0, most, n_images)
  counts[0] = max(counts[0], 1)
  owner = rng.permutation(np.repeat(np.arange(n_images), counts))
  return [f'Field {rng.integers(words)}.' for _ in owner], owner


def random_scores(rng, groups, *, n_images, levels):
  """Equal in the columns of a group."""
  scores = rng.integers(0, levels, (n_images, groups.max() + 1))
  return scores.astype(np.float32)[:, groups]


def aware_ranks(scores, groups, owner):
  """Of a table: products with the axes are its entries."""
  axes = np.eye(len(owner), dtype=np.float32)
  features = Features(scores, axes, np.arange(len(owner)))
  return duplicate_aware_ranks(count_not_below(features, owner), groups, owner)


def ceiling_scores(groups, owner, *, n_images):
  """A table that reaches the ceiling: equal within a group, most own captions first."""
  own = np.zeros((n_images, groups.max() + 1))
  np.add.at(own, (owner, groups), 1)
  scores = np.where(own > 0, own - own.sum(axis=0), -np.inf)
  # Fractions that depend on the row and on the group alone break the ties of both.
  scores += np.arange(n_images)[:, None] / n_images
  scores += np.arange(own.shape[1])[None, :] / own.shape[1]
  return scores[:, groups]


def slow_ranks(scores, captions, owner):
  """Sorts every query, wrong items first among equals; a caption is its string."""
  texts = [clean_caption(caption, cleaning='released') for caption in captions]
  n_images = len(scores)
  of_image = [
    {text for text, image in zip(texts, owner, strict=True) if image == i}
    for i in range(n_images)
  ]

  def rank(query, right):
    order = sorted(range(len(query)), key=lambda item: (-query[item], right[item]))
    return next(place for place, item in enumerate(order) if right[item])

  i2t = [
    rank(scores[i], [text in of_image[i] for text in texts])
    for i in range(n_images)
    if of_image[i]
  ]
  t2i = [
    rank(scores[:, j], [text in of_image[i] for i in range(n_images)])
    for j, text in enumerate(texts)
  ]
  return {'i2t': i2t, 't2i': t2i}


def test_captions_are_identical_after_cleaning():
  captions = ['A river.', 'a  river', 'A river!', 'a rivers', '.', '?']
  groups = caption_groups(captions, cleaning='released')
  same = groups[:, None] == groups[None, :]
  assert same[:3, :3].all()
  assert same[4, 5]
  assert same.sum() == 9 + 1 + 4
  assert sorted(set(groups.tolist())) == [0, 1, 2]


def test_an_identical_caption_is_right_and_so_is_its_image():
  # Captions 0 and 2 are identical; the text of caption 1 fits the other image best.
  scores = np.array([[2, 0, 2], [3, 1, 3]], np.float32)
  ranks = aware_ranks(scores, np.array([0, 1, 0]), np.array([0, 0, 1]))
  assert {name: values.tolist() for name, values in ranks.items()} == {
    'i2t': [0, 0],
    't2i': [0, 1, 0],
  }


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('levels', [3, 1000])
def test_ranks_equal_a_sort_with_ties_against_the_model(seed, levels):
  rng = np.random.default_rng(seed)
  captions, owner = random_captions(rng, n_images=12)
  groups = caption_groups(captions, cleaning='released')
  scores = random_scores(rng, groups, n_images=12, levels=levels)
  ranks = aware_ranks(scores, groups, owner)
  slow = slow_ranks(scores, captions, owner)
  assert {name: values.tolist() for name, values in ranks.items()} == slow


def test_without_duplicates_they_are_the_standard_ranks():
  rng = np.random.default_rng(0)
  owner = np.array([0, 2, 2, 3, 0])
  scores = rng.integers(0, 3, (5, 5)).astype(np.float32)
  aware = aware_ranks(scores, np.arange(5), owner)
  standard = retrieval_ranks(scores, owner)
  for name in standard:
    np.testing.assert_array_equal(aware[name], standard[name])
  ceiling = recall_ceiling(np.arange(5), owner)
  assert ceiling['mean_recall'] == 100


def test_no_rank_is_higher_than_the_standard_one():
  rng = np.random.default_rng(1)
  captions, owner = random_captions(rng, n_images=30)
  groups = caption_groups(captions, cleaning='released')
  scores = random_scores(rng, groups, n_images=30, levels=10_000)
  aware = aware_ranks(scores, groups, owner)
  standard = retrieval_ranks(scores, owner)
  for name in standard:
    assert (aware[name] <= standard[name]).all()
    assert (aware[name] < standard[name]).any()


def test_ceiling_by_hand():
  # Three images share one caption; image 0 has it twice, image 2 has another as well.
  groups, owner = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 1, 2, 2])
  ceiling = recall_ceiling(groups, owner, ks=KS)
  # Beside the best caption of an image stand 2, 3 and, for image 2, 0 of others.
  assert ceiling['i2t_r1'] == ceiling['i2t_r2'] == pytest.approx(100 / 3)
  assert ceiling['i2t_r3'] == pytest.approx(200 / 3)
  # The shared caption finds image 0 first: two of its four captions.
  assert [ceiling[f't2i_r{k}'] for k in KS] == pytest.approx([60, 80, 100])


def score_tables(n_rows, n_columns, *, levels):
  """All matrices with so many different values: every weak order when they suffice."""
  for values in itertools.product(range(levels), repeat=n_rows * n_columns):
    yield np.reshape(values, (n_rows, n_columns))


@pytest.mark.parametrize(
  ('groups', 'owner'),
  [
    ([0, 0, 1], [0, 1, 0]),
    ([0, 0, 1, 1], [0, 1, 0, 1]),
    ([0, 0, 1, 1, 1], [0, 1, 1, 0, 0]),
    ([0, 0, 0, 0], [0, 0, 1, 1]),
  ],
)
def test_ceiling_is_the_best_of_all_tables_of_scores(groups, owner):
  groups, owner = np.array(groups), np.array(owner)
  n_groups = groups.max() + 1
  found = [
    recall_at_k(table[:, groups], owner, ks=KS)
    for table in score_tables(2, n_groups, levels=2 * n_groups)
  ]
  ceiling = recall_ceiling(groups, owner, ks=KS)
  for name, highest in ceiling.items():
    assert highest == pytest.approx(max(recall[name] for recall in found)), name


@pytest.mark.parametrize('seed', range(6))
def test_no_order_of_a_row_or_a_column_is_better(seed):
  rng = np.random.default_rng(seed)
  captions, owner = random_captions(rng, n_images=4, words=3)
  groups = caption_groups(captions, cleaning='released')
  n_groups = groups.max() + 1
  scores = ceiling_scores(groups, owner, n_images=4)
  reached = retrieval_ranks(scores, owner)

  closed = ceiling_ranks(groups, owner)
  np.testing.assert_array_equal(closed['i2t'], reached['i2t'])
  for group in range(n_groups):
    of_group = [np.sort(ranks['t2i'][groups == group]) for ranks in (closed, reached)]
    np.testing.assert_array_equal(*of_group)
    columns = scores[:, groups == group]
    assert (columns == columns[:, :1]).all()

  best = [100] * 4
  for row in score_tables(1, n_groups, levels=n_groups):
    ranks = retrieval_ranks(np.repeat(row, 4, axis=0)[:, groups], owner)['i2t']
    best[: len(ranks)] = np.minimum(best[: len(ranks)], ranks)
  np.testing.assert_array_equal(reached['i2t'], best[: len(reached['i2t'])])

  for group in range(n_groups):
    most = np.zeros(len(KS), int)
    for column in score_tables(4, 1, levels=4):
      ranks = retrieval_ranks(np.repeat(column, len(owner), axis=1), owner)['t2i']
      hits = [(ranks[groups == group] < k).sum() for k in KS]
      most = np.maximum(most, hits)
    ranks = reached['t2i'][groups == group]
    assert [(ranks < k).sum() for k in KS] == most.tolist()


@pytest.mark.parametrize(
  ('groups', 'owner'),
  [
    ([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1]),
    ([0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 0, 1]),
    ([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 0, 2]),
  ],
)
def test_the_ceiling_of_the_expectation_is_the_best_of_all_tables(groups, owner):
  """A level for each group says all of their orders and ties in an image's row."""
  groups, owner = np.array(groups), np.array(owner)
  n_groups, n_images = groups.max() + 1, owner.max() + 1
  levels = max(n_groups, n_images)
  highest = {}
  for values in itertools.product(range(levels), repeat=n_groups * n_images):
    scores = np.reshape(values, (n_images, n_groups))[:, groups].astype(np.float32)
    found = expected_recall(retrieval_ties(scores, owner), ks=KS)
    highest = {name: max(value, highest.get(name, 0)) for name, value in found.items()}
  ceiling = expected_ceiling(groups, owner, ks=KS)
  highest.pop('mean_recall')  # no table need have the highest of each
  assert {name: ceiling[name] for name in highest} == pytest.approx(highest)


def test_the_ceiling_is_above_what_equal_scores_of_a_group_reach():
  rng = np.random.default_rng(2)
  captions, owner = random_captions(rng, n_images=20)
  groups = caption_groups(captions, cleaning='released')
  ceiling = recall_ceiling(groups, owner)
  assert ceiling['mean_recall'] < 100
  for _ in range(50):
    scores = rng.random((20, groups.max() + 1))
    scores[owner, groups] += rng.random()
    recall = recall_at_k(scores[:, groups], owner)
    assert all(recall[name] <= ceiling[name] for name in ceiling)


@pytest.fixture(scope='module')
def table(data_dir):
  return load_captions(data_dir / 'rsicd', split='val')


def test_on_rsicd_the_ceiling_is_below_100_and_identical_captions_explain_it(table):
  groups = caption_groups(table.captions, cleaning='released')
  owner, n_images = table.caption_image, table.n_images
  ceiling = recall_ceiling(groups, owner)
  assert 50 < ceiling['t2i_r1'] < ceiling['t2i_r5'] < ceiling['t2i_r10'] < 100
  scores = ceiling_scores(groups, owner, n_images=n_images)
  assert recall_at_k(scores, owner) == pytest.approx(ceiling)


def test_on_rsicd_identical_captions_have_identical_tokens(table):
  tokens = tokenize_table(table, cleaning='released')
  _, of_tokens = np.unique(tokens, axis=0, return_inverse=True)
  groups = caption_groups(table.captions, cleaning='released')
  pairs = set(zip(groups.tolist(), of_tokens.ravel().tolist(), strict=True))
  assert len({group for group, _ in pairs}) == len(pairs)
  assert len({row for _, row in pairs}) == len(pairs)
