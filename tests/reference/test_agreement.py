"""Agreement with the original's stored results, and that disagreement is found."""

import json

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.reference.agreement import agreement, compare
from harma_jax.reference.file import read_reference

FILES = ('harma_released.npz', 'harma_shared_quickgelu.npz')


@pytest.fixture(scope='module', params=FILES)
def report(request, reference_dir):
  return compare(read_reference(reference_dir / request.param))


def test_every_quantity_agrees_with_the_original(report):
  assert not {name: row for name, row in report.items() if not row['ok']}


def test_every_kind_of_quantity_is_compared(report):
  kinds = {name.split('/')[0] for name in report}
  assert kinds == {'hidden', 'outputs', 'grads', 'optim', 'losses'}


def test_errors_are_small_numbers(report):
  for row in report.values():
    assert set(row) == {'max_abs_error', 'max_rel_error', 'ok'}
    assert 0 <= row['max_rel_error'] <= 5e-3
  # Not only within the tolerance: what is computed once agrees to f32.
  once = [row for name, row in report.items() if name.split('/')[0] != 'optim']
  assert np.median([row['max_rel_error'] for row in once]) < 1e-5


def test_what_cannot_be_computed_is_the_users_mistake(monkeypatch):
  computed = {'outputs/a': np.ones(1), 'outputs/b': np.ones(1)}
  monkeypatch.setattr(
    'harma_jax.reference.agreement.quantities', lambda _: iter(computed.items())
  )
  given = {'meta': np.array('{}'), 'outputs/a': np.ones(1)}
  assert list(compare(given)) == ['outputs/a']
  with pytest.raises(UserError, match=r'found also outputs/c\.'):
    compare(given | {'outputs/c': np.ones(1)})


@pytest.mark.parametrize(
  ('computed', 'expected', 'ok'),
  [
    ([1.0, 2.0], [1.0, 2.0], True),
    ([1.0, 2.0001], [1.0, 2.0], True),
    ([1.0, 2.001], [1.0, 2.0], False),
    ([1.0, np.nan], [1.0, 2.0], False),
    ([1.0], [1.0, 1.0], False),
    ([0.0], [0.0], True),
    ([1e-3], [0.0], False),
    (['a', 'b'], ['b', 'a'], True),
    (['a', 'b'], ['a', 'c'], False),
  ],
)
def test_agreement_is_relative_to_the_largest_entry(computed, expected, ok):
  row = agreement('outputs/x', np.array(computed), np.array(expected))
  assert row['ok'] == ok
  json.dumps(row)


def test_the_optimizer_trace_may_differ_more_but_for_what_softmax_ignores():
  expected = np.ones(6)
  in_key, in_query = np.array([[1, 1, 2, 2, 1, 1], [2, 1, 1, 1, 1, 1]])
  name = 'optim/after_step_2/attn.in_proj_bias'
  assert agreement(name, in_key, expected)['ok']
  assert agreement(name, expected * 1.004, expected)['ok']
  assert not agreement(name, in_query, expected)['ok']
  assert not agreement('grads/attn.in_proj_bias', in_key, expected)['ok']
