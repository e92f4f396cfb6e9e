"""Recalls against ranx, an independent library."""

import os

import numpy as np
import pytest

from harma_jax.evaluation.duplicates import duplicate_aware_ranks, duplicate_relevance
from harma_jax.evaluation.recall import recall_at_k, recall_of_ranks

# Compiling takes half a minute, these few queries none.
os.environ.setdefault('NUMBA_DISABLE_JIT', '1')
ranx = pytest.importorskip('ranx')

KS = (1, 5, 10)


def ranx_recalls(scores, right, *, direction):
  """Hit rates of the rows that have a right item, wrong ones first among equals."""
  queries, run = {}, {}
  for row in np.flatnonzero(right.any(axis=1)):
    order = np.lexsort([right[row], -scores[row]])
    places = {f'item {item}': 1.0 - at / len(order) for at, item in enumerate(order)}
    queries[f'query {row}'] = {f'item {i}': 1 for i in np.flatnonzero(right[row])}
    run[f'query {row}'] = places
  names = [f'hit_rate@{k}' for k in KS]
  found = ranx.evaluate(ranx.Qrels(queries), ranx.Run(run), names)
  return {
    f'{direction}_r{k}': 100 * found[name] for k, name in zip(KS, names, strict=True)
  }


@pytest.mark.parametrize('levels', [4, 10_000])
def test_recalls_equal_ranx(levels):
  """Ties, identical captions, and images with none to four captions in any order."""
  rng = np.random.default_rng(levels)
  owner = rng.permutation(np.repeat(np.arange(40), rng.integers(0, 5, 40)))
  groups = np.unique(rng.integers(0, 30, len(owner)), return_inverse=True)[1]
  scores = rng.integers(0, levels, (40, groups.max() + 1))[:, groups].astype(float)
  standard = owner[None, :] == np.arange(40)[:, None]
  aware = duplicate_relevance(groups, owner, n_images=40)
  ours = (
    recall_at_k(scores, owner),
    recall_of_ranks(duplicate_aware_ranks(scores, groups, owner)),
  )
  for recall, right in zip(ours, (standard, aware), strict=True):
    theirs = ranx_recalls(scores, right, direction='i2t')
    theirs |= ranx_recalls(scores.T, right.T, direction='t2i')
    theirs['mean_recall'] = np.mean(list(theirs.values()))
    assert recall == pytest.approx(theirs)
  assert ours[0]['mean_recall'] < ours[1]['mean_recall']
