"""Means and deviations over seeds, whatever steps these selected."""

import pytest

from harma_jax.reporting.spread import summarize


def result_of(*, best, total, **rows):
  splits = {'val': {name: {'mean_recall': value} for name, value in rows.items()}}
  return {'best_step': best, 'steps': total, 'splits': splits}


def test_rows_are_found_whatever_step_was_the_best():
  rows = {'chance': 1.0, 'ceiling': 90.0, 'step 0': 2.0}
  results = [
    result_of(
      best=6, total=9, **rows, **{'step 6, selected': 8.0, 'step 9, last': 7.0}
    ),
    result_of(best=0, total=9, **rows, **{'step 9, last': 1.0}),
    result_of(best=9, total=9, **rows, **{'step 9, selected': 5.0}),
  ]
  found = summarize(results)['val']
  means = {name: spread['mean']['mean_recall'] for name, spread in found.items()}
  assert means == pytest.approx(
    {'chance': 1, 'ceiling': 90, 'step 0': 2, 'selected': 5, 'last': 13 / 3}
  )
  assert found['selected']['sd']['mean_recall'] == pytest.approx(3)
  assert found['chance']['sd']['mean_recall'] == 0
  assert 'sd' not in summarize(results[:1])['val']['selected']


def test_a_step_that_not_all_have_measured_is_left_out():
  rows = {'chance': 1.0, 'ceiling': 90.0, 'step 0': 2.0}
  results = [
    result_of(best=6, total=9, **rows, **{'step 6, selected': 8.0}),
    result_of(best=9, total=9, **rows, **{'step 9, selected': 5.0}),
  ]
  assert list(summarize(results)['val'])[-1] == 'selected'
