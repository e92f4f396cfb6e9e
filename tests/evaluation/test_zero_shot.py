"""Zero-shot classification beside loops over images, and scipy's bootstrap."""

import numpy as np
import pytest
from scipy import stats

from harma_jax.errors import UserError
from harma_jax.evaluation.zero_shot import (
  TEMPLATES,
  accuracy,
  accuracy_difference,
  accuracy_names,
  chance_accuracy,
  class_accuracies,
  class_features,
  class_ranks,
  confusion_matrix,
  make_prompts,
  most_confused,
  predictions,
)


@pytest.fixture
def scores():
  """Of 60 images and 7 classes, rounded so that many tie."""
  return np.random.default_rng(0).normal(size=(60, 7)).round(1).astype(np.float32)


@pytest.fixture
def labels():
  return np.random.default_rng(1).permutation(np.arange(60) % 7)


def plain_rank(row, label):
  return sum(row[c] >= row[label] for c in range(len(row)) if c != label)


def plain_accuracies(ranks, labels):
  """Top-1, its mean over the classes that are there, and top-5."""
  classes = [[r == 0 for r, l in zip(ranks, labels) if l == c] for c in set(labels)]  # noqa: B905, E741
  return [
    100 * np.mean([rank < 1 for rank in ranks]),
    100 * np.mean([np.mean(hits) for hits in classes]),
    100 * np.mean([rank < 5 for rank in ranks]),
  ]


def test_prompts_stand_class_by_class():
  prompts = make_prompts(['bare land', 'port'], ['a {}.', '{} and {}'])
  assert prompts == [
    'a bare land.',
    'bare land and bare land',
    'a port.',
    'port and port',
  ]


def test_the_default_templates_differ_and_hold_the_name_once():
  assert len(set(TEMPLATES)) == len(TEMPLATES) >= 10
  assert all(template.count('{}') == 1 for template in TEMPLATES)


@pytest.mark.parametrize(
  ('templates', 'message'),
  [
    (['a {}', 'a photo'], "templates: expected .* found 'a photo'"),
    ([], 'templates: expected .* found none'),
  ],
)
def test_templates_without_a_place_for_the_name_are_refused(templates, message):
  with pytest.raises(UserError, match=message):
    make_prompts(['port'], templates)


def test_features_of_a_class_are_the_unit_mean_of_its_prompts():
  features = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(np.float32)
  features /= np.linalg.norm(features, axis=-1, keepdims=True)
  for row, prompts in zip(class_features(features), features, strict=True):
    mean = sum(prompts) / 4
    np.testing.assert_allclose(row, mean / np.sqrt((mean**2).sum()), atol=1e-6)


def test_ranks_and_predictions_count_ties_against_the_model(scores, labels):
  ranks = class_ranks(scores, labels)
  assert ranks.tolist() == [
    plain_rank(*pair) for pair in zip(scores, labels, strict=True)
  ]
  predicted = predictions(scores, labels)
  for row, label, guess, rank in zip(scores, labels, predicted, ranks, strict=True):
    assert row[guess] == row.max()
    assert (guess == label) == (rank == 0)
  assert (scores.max(axis=1) == scores[np.arange(60), labels]).sum() > (
    ranks == 0
  ).sum()


def test_scores_that_are_no_numbers_are_never_right():
  scores = np.array([[np.nan, np.nan], [0.1, np.nan], [np.nan, 0.1]], np.float32)
  labels = np.zeros(3, int)
  assert class_ranks(scores, labels).tolist() == [1, 0, 1]
  assert predictions(scores, labels).tolist() == [1, 0, 1]


def test_confusions_are_counted_and_the_commonest_come_first(scores, labels):
  predicted = predictions(scores, labels)
  confusion = confusion_matrix(predicted, labels, n_classes=7)
  expected = np.zeros((7, 7), int)
  for label, guess in zip(labels, predicted, strict=True):
    expected[label, guess] += 1
  assert confusion.tolist() == expected.tolist()
  pairs = most_confused(confusion, count=4)
  wrong = sorted(expected[i, j] for i in range(7) for j in range(7) if i != j)
  assert [images for _, _, images in pairs] == wrong[::-1][:4]
  assert all(expected[i, j] == images and i != j for i, j, images in pairs)
  assert most_confused(np.diag([3, 2]), count=4) == []


def test_accuracies_equal_a_loop_over_images(scores, labels):
  ranks = class_ranks(scores, labels)
  found = accuracy(ranks, labels, n_classes=7, resamples=50)
  assert tuple(found) == accuracy_names(7) == ('top1', 'mean_per_class_top1', 'top5')
  values = [row['value'] for row in found.values()]
  assert values == pytest.approx(plain_accuracies(ranks, labels))
  of_classes = class_accuracies(ranks, labels, n_classes=7)
  for number in range(7):
    assert of_classes[number] == pytest.approx(
      100 * np.mean(ranks[labels == number] == 0)
    )


def test_intervals_agree_with_images_drawn_one_by_one(scores):
  rng = np.random.default_rng(3)
  scores, labels = np.tile(scores, (5, 1)), np.sort(rng.integers(0, 7, 300))
  scores[np.arange(300), labels] += rng.choice([0, 2], 300)
  ranks = class_ranks(scores, labels)
  drawn = []
  for _ in range(2000):
    places = rng.integers(0, 300, 300)
    drawn.append(plain_accuracies(ranks[places], labels[places].tolist()))
  expected = np.quantile(drawn, [0.025, 0.975], axis=0).T
  found = accuracy(ranks, labels, n_classes=7)
  for row, interval in zip(found.values(), expected, strict=True):
    assert [row['low'], row['high']] == pytest.approx(interval, abs=0.9)
  theirs = stats.bootstrap(
    [100.0 * (ranks == 0)], np.mean, method='percentile', rng=rng
  )
  interval = [found['top1']['low'], found['top1']['high']]
  assert interval == pytest.approx(tuple(theirs.confidence_interval), abs=0.9)


def test_intervals_depend_on_the_seed_and_the_level(scores, labels):
  ranks = class_ranks(scores, labels)
  how = {'n_classes': 7, 'resamples': 200}
  first = accuracy(ranks, labels, **how)
  assert first == accuracy(ranks, labels, **how)
  assert first != accuracy(ranks, labels, **how, seed=1)
  narrow = accuracy(ranks, labels, **how, level=0.5)
  assert first['top1']['low'] < narrow['top1']['low']
  assert narrow['top1']['high'] < first['top1']['high']


def test_a_difference_is_paired(labels):
  first = np.random.default_rng(4).integers(0, 7, 60)
  second = first.copy()
  second[np.flatnonzero(first)[:6]] = 0
  how = {'n_classes': 7, 'resamples': 500}
  row = accuracy_difference(first, second, labels, **how)['top1']
  assert row['value'] == pytest.approx(10)
  assert 0 < row['low'] < 10 < row['high'] < 20
  same = accuracy_difference(first, first, labels, **how)
  assert all(set(row.values()) == {0} for row in same.values())
  alone = [accuracy(ranks, labels, **how)['top1']['value'] for ranks in (first, second)]
  assert alone[1] - alone[0] == pytest.approx(row['value'])


def test_of_five_classes_the_top_five_say_nothing():
  assert chance_accuracy(5) == {'top1': 20, 'mean_per_class_top1': 20}
  assert chance_accuracy(8)['top5'] == 62.5
  ranks, labels = np.array([0, 4, 0, 1, 2]), np.arange(5)
  assert accuracy(ranks, labels, n_classes=5, resamples=9)['top1']['value'] == 40
