"""Recalls against ranx, an independent library."""

import os

import numpy as np
import pytest

from harma_jax.evaluation.duplicates import duplicate_aware_ranks
from harma_jax.evaluation.ranks import Features, count_not_below, retrieval_ranks_of
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
@pytest.mark.parametrize('most', [1, 4], ids=['one caption', 'ragged'])
def test_recalls_equal_ranx(levels, most):
  """Ties, identical captions of one and of several images, images without a caption."""
  rng = np.random.default_rng(levels)
  counts = rng.integers(0, 5, 40) if most > 1 else np.ones(40, int)
  owner = rng.permutation(np.repeat(np.arange(40), counts))
  groups = np.unique(rng.integers(0, 30, len(owner)), return_inverse=True)[1]
  table = rng.integers(0, levels, (40, groups.max() + 1)).astype(np.float32)
  scores = table[:, groups]
  right = owner[None, :] == np.arange(40)[:, None]
  has_text = np.zeros(table.shape, bool)
  has_text[owner, groups] = True
  # Products with the axes are the table's entries.
  axes = np.eye(table.shape[1], dtype=np.float32)
  found = count_not_below(Features(table, axes, groups), owner, chunk=500)
  standard = recall_of_ranks(retrieval_ranks_of(found, owner))
  aware = recall_of_ranks(duplicate_aware_ranks(found, groups, owner))
  expected = {
    'standard': ranx_of(scores, right),
    'identical right': ranx_of(scores, has_text[:, groups]),
  }
  assert recall_at_k(scores, owner) == pytest.approx(expected['standard'])
  assert standard == pytest.approx(expected['standard'])
  assert aware == pytest.approx(expected['identical right'])
  assert standard['mean_recall'] < aware['mean_recall']


def ranx_of(scores, right):
  recalls = ranx_recalls(scores, right, direction='i2t')
  recalls |= ranx_recalls(scores.T, right.T, direction='t2i')
  return recalls | {'mean_recall': np.mean(list(recalls.values()))}
