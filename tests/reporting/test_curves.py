"""What was logged, as series and histograms over time."""

import re

import numpy as np
import pytest

from harma_jax.reporting.curves import (
  MOST_COLUMNS,
  MOST_POINTS,
  conflicts_section,
  curves_section,
  histograms,
  points,
)


def train_row(step, **values):
  row = {'kind': 'train', 'step': step, 'epoch': step / 4, 'loss': 10.0 / step}
  return row | {'triplet': 1.0, 'learning_rate': 1e-3, 'pairs_per_second': 5.0} | values


RECALLS = {f'{d}_r{k}': 10.0 * k for d in ('i2t', 't2i') for k in (1, 5, 10)}


def evaluation_row(step, split='val'):
  return {
    'kind': 'evaluation',
    'step': step,
    'split': split,
    'mean_recall': 5.0 + step,
  } | RECALLS


ROWS = [
  evaluation_row(0),
  *(train_row(step) for step in range(1, 9)),
  evaluation_row(8),
]


def section_of(rows=ROWS, **settings):
  settings = {'chance': {}, 'selected_on': 'val', 'best_step': 8} | settings
  return curves_section(rows, **settings)


def test_each_quantity_has_a_chart_whose_words_say_its_ends():
  text = section_of()
  captions = re.findall('<figcaption>(.*?)</figcaption>', text)
  assert captions == [
    *(
      'loss',
      'mean recall (mR) in %',
      'recall in % on val',
      'triplet term of the loss',
    ),
    *('learning rate', 'pairs/s, evaluations left out'),
  ]
  assert text.count('<svg role="img"') == len(captions)
  assert 'loss from 10 to 1.25' in text
  assert 'val from 5 to 13' in text


def test_the_bias_of_a_sigmoid_loss_stands_behind_its_temperature():
  scalars = {'temperature': 0.1, 'logit_bias': -10.0}
  text = section_of([train_row(step) | scalars for step in range(1, 4)])
  captions = re.findall('<figcaption>(.*?)</figcaption>', text)
  at = captions.index('temperature of the similarities')
  assert captions[at + 1] == 'bias of the logits'


def test_chance_and_other_splits_are_drawn_beside():
  rows = [*ROWS, evaluation_row(0, split='test')]
  text = section_of(rows, chance={'val': {'mean_recall': 2.5}})
  assert 'chance, val from 2.5 to 2.5' in text
  assert text.index('> val<') < text.index('> test<')


def test_a_loss_that_is_not_finite_is_counted_and_not_drawn():
  rows = [train_row(1, loss=float('nan')), train_row(2), *ROWS]
  assert 'At 1 of them the loss was not finite' in section_of(rows)
  only = [train_row(1, loss=float('nan'))]
  assert 'loss: no finite value was logged' in section_of(only)


def test_a_run_without_a_step_says_so():
  text = section_of([evaluation_row(0)], best_step=None)
  assert 'No training step was logged' in text
  assert 'class="mark"' not in text
  assert 'no finite value' in section_of([], best_step=None)


def test_long_lines_are_thinned_evenly_with_both_ends():
  rows = [train_row(step) for step in range(1, 5 * MOST_POINTS)]
  line = points(rows, 'loss')
  assert len(line) == MOST_POINTS
  assert (line[0], line[-1]) == ((0.25, 10.0), (rows[-1]['epoch'], rows[-1]['loss']))
  assert f'{MOST_POINTS} points are drawn' in section_of(rows)


def histogram_rows(n):
  rng = np.random.default_rng(0)
  return [
    train_row(
      step,
      cosine_histogram=rng.integers(0, 9, 21).tolist(),
      conflict_share=0.25,
      kept_share=0.75,
    )
    for step in range(1, n + 1)
  ]


def test_histograms_are_shares_over_time():
  rows = histogram_rows(3)
  shares, epochs = histograms(rows)
  assert shares.shape == (21, 3)
  counts = np.array(rows[1]['cosine_histogram'])
  np.testing.assert_allclose(shares[:, 1], counts / counts.sum())
  assert epochs == [0.25, 0.5, 0.75]


def test_many_histograms_are_averaged_in_order():
  rows = histogram_rows(2 * MOST_COLUMNS)
  shares, epochs = histograms(rows)
  assert shares.shape == (21, MOST_COLUMNS)
  pair = [np.array(row['cosine_histogram']) for row in rows[:2]]
  expected = np.mean([counts / counts.sum() for counts in pair], axis=0)
  np.testing.assert_allclose(shares[:, 0], expected)
  assert epochs[1] == rows[2]['epoch']


def test_conflicts_are_drawn_and_their_shares_named():
  rows = histogram_rows(4)
  text = conflicts_section(rows, pair='captions')
  assert text.count('<svg role="img"') == 2
  assert 'cosine below 0 from 0.25 to 0.25; kept from 0.75 to 0.75' in text
  cells = len(re.findall('<rect x=[^>]*fill-opacity', text))
  assert cells == sum(count > 0 for row in rows for count in row['cosine_histogram'])


@pytest.mark.parametrize(
  ('rows', 'pair', 'sentence'),
  [(histogram_rows(2), 'none', 'Harmonization is off'), (ROWS, 'captions', 'No step')],
)
def test_without_angles_there_is_only_a_sentence(rows, pair, sentence):
  text = conflicts_section(rows, pair=pair)
  assert sentence in text
  assert '<svg' not in text
