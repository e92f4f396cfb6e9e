"""Which queries are shown, and what is shown of them."""

import re

import numpy as np
import pytest

from harma_jax.evaluation.ranks import Features
from harma_jax.evaluation.recall import retrieval_ranks
from harma_jax.reporting.retrieval import (
  Gallery,
  choose_queries,
  queries_section,
  top_hits,
)


@pytest.mark.parametrize('n', [1, 3, 7, 9, 30])
def test_no_query_is_chosen_twice_and_kinds_are_in_order(n):
  ranks = np.random.default_rng(n).integers(0, 50, n)
  chosen = choose_queries(ranks, seed=0)
  rows = np.concatenate(list(chosen.values()))
  assert len(set(rows.tolist())) == len(rows) == min(n, 12)
  best, worst, others = chosen.values()
  assert sorted(ranks[best].tolist()) == sorted(ranks.tolist())[: len(best)]
  if n >= 8:
    assert sorted(ranks[worst].tolist()) == sorted(ranks.tolist())[-4:]
    assert (ranks[others] >= ranks[best].max()).all()


def test_the_choice_is_that_of_its_seed():
  ranks = np.zeros(100, np.int64)
  first, again, other = (choose_queries(ranks, seed=seed) for seed in (0, 0, 1))
  for kind, rows in first.items():
    np.testing.assert_array_equal(rows, again[kind])
  assert set(first['best-ranked']) != set(other['best-ranked'])


def test_hits_are_in_the_order_of_their_ranks():
  scores = np.array([0.1, 0.9, 0.5, 0.5, 0.3, 0.2, 0.4])
  right = np.arange(7) == 2
  hits = top_hits(scores, right, same=np.arange(7) == 3)
  # Item 3 has the score of the right one: ties count against the model.
  assert [hit.item for hit in hits] == [1, 3, 2, 6, 4]
  assert [hit.verdict for hit in hits[:3]] == ['wrong', 'same words', 'right']


@pytest.mark.parametrize('seed', range(5))
def test_the_right_one_stands_at_the_rank_that_recall_counts(seed):
  rng = np.random.default_rng(seed)
  scores = rng.integers(0, 6, (8, 16)) / 6  # with ties
  owners = np.repeat(np.arange(8), 2)
  ranks = retrieval_ranks(scores, owners)
  nothing = np.zeros(16, bool)
  for image in range(8):
    hits = top_hits(scores[image], owners == image, nothing)
    right = next(hit for hit in hits if hit.verdict == 'right')
    assert right.rank == ranks['i2t'][image] + 1
    assert len(hits) == (5 if right.rank <= 5 else 6)


@pytest.fixture
def gallery():
  captions = ('a <b>bold</b> ship', 'a plane', 'a plane', 'a road')
  return Gallery(
    captions=captions,
    files=('ship_1.png', 'plane_"2".png', 'plane_3.png'),
    caption_image=np.array([0, 1, 2, 2]),
    cleaning='sound',
    show=lambda row, alt: f'[{row}: {alt}]',
  )


SCORES = np.float32([[0.9, 0.1, 0.1, 0.2], [0.2, 0.8, 0.8, 0.4], [0.3, 0.7, 0.7, 0.3]])


def section_of(gallery):
  features = Features(SCORES, np.eye(4, dtype=np.float32), np.arange(4))
  ranks = retrieval_ranks(SCORES, gallery.caption_image)
  return queries_section(features, ranks, gallery, split='val', seed=0)


def test_queries_are_shown_with_verdicts_in_words(gallery):
  text = section_of(gallery)
  assert text.count('<article') == 4 + 3
  assert '<b>bold</b> ship' not in text
  assert 'a &lt;b&gt;bold&lt;/b&gt; ship' in text
  assert 'plane_&quot;2&quot;.png' in text
  assert 'seed 0' in text
  [card] = [c for c in text.split('<article>') if '>a road<' in c]
  assert 'Its image is at rank <b>2</b> of 3.' in card
  assert '[1: rank 1, wrong: plane_"2".png]' in card
  assert '<b>2. ✓ right</b> 0.300' in card


def test_the_words_of_a_right_caption_are_told_from_wrong_ones(gallery):
  text = section_of(gallery)
  [card] = [c for c in text.split('<article class="beside">') if '[1: query' in c]
  labels = re.findall(r'<b>(\d+\. . [\w ]+)</b>', card)
  # Both captions `a plane` tie: the one of the other image counts before the own.
  assert labels[:2] == ['1. ≈ same words', '2. ✓ right']


def test_identical_captions_of_one_image_are_one_query(gallery):
  captions = ('a ship', 'a plane', 'A plane.', 'a plane')
  owners = np.array([0, 1, 1, 2])
  text = section_of(gallery._replace(captions=captions, caption_image=owners))
  queries = re.findall('<p class="query">(.*?)</p>', text)
  assert sorted(queries) == ['a plane', 'a plane', 'a ship']
