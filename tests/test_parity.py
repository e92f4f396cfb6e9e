"""Agreement with the original's stored results, and that disagreement is found."""

import json

import numpy as np
import pytest

from harma_jax import parity
from harma_jax.errors import UserError

FILES = ('harma_released.npz', 'harma_shared_quickgelu.npz')
ALTERED = 'weights/model.visual.transformer.resblocks.0.mlp.c_fc.weight'


@pytest.fixture(scope='module', params=FILES)
def report(request, reference_dir):
  return parity.compare(parity.read_reference(reference_dir / request.param))


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


def test_an_altered_weight_is_found(reference_dir, tmp_path, capsys, monkeypatch):
  # Gradients take longest to compile and are compared above.
  monkeypatch.setattr(parity, '_training', lambda *_: iter(()))
  with np.load(reference_dir / FILES[0]) as arrays:
    reference = {
      name: array
      for name, array in arrays.items()
      if not name.startswith(('grads/', 'optim/'))
    }
  reference[ALTERED] = reference[ALTERED] * np.float32(1.01)
  np.savez(tmp_path / 'altered.npz', **reference)
  assert parity.main(['parity', str(tmp_path / 'altered.npz')]) == 1
  report = json.loads(capsys.readouterr().out)
  wrong = {name for name, row in report.items() if not row['ok']}
  assert {'hidden/image_block_0', 'outputs/image_features'} <= wrong
  # The text tower and the losses on given features do not depend on it.
  assert not {name for name in wrong if name.startswith(('hidden/text', 'losses/'))}


def test_main_returns_zero_where_all_agree(monkeypatch, capsys):
  row = {'max_abs_error': 0.0, 'max_rel_error': 0.0, 'ok': True}
  monkeypatch.setattr(parity, 'read_reference', lambda path: {'read': path})
  monkeypatch.setattr(parity, 'compare', lambda reference: {reference['read']: row})
  assert parity.main(['parity', 'file.npz']) == 0
  assert json.loads(capsys.readouterr().out) == {'file.npz': row}


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
  row = parity._agreement('outputs/x', np.array(computed), np.array(expected))
  assert row['ok'] == ok
  json.dumps(row)


def test_the_optimizer_trace_may_differ_more_but_for_what_softmax_ignores():
  expected = np.ones(6)
  in_key, in_query = np.array([[1, 1, 2, 2, 1, 1], [2, 1, 1, 1, 1, 1]])
  name = 'optim/after_step_2/attn.in_proj_bias'
  assert parity._agreement(name, in_key, expected)['ok']
  assert parity._agreement(name, expected * 1.004, expected)['ok']
  assert not parity._agreement(name, in_query, expected)['ok']
  assert not parity._agreement('grads/attn.in_proj_bias', in_key, expected)['ok']


@pytest.mark.parametrize('content', [b'', b'not an archive', None])
def test_a_file_that_is_no_npz_is_the_users_mistake(tmp_path, content):
  path = tmp_path / 'reference.npz'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(UserError, match=r'readable \.npz file; found .*reference\.npz'):
    parity.main(['parity', str(path)])


@pytest.mark.parametrize(
  'keys',
  [
    ['weights/temp'],
    ['inputs/images_nchw', 'inputs/tokens', 'inputs/image_ids', 'outputs/x'],
    ['meta', 'inputs/tokens', 'outputs/x'],
    ['meta', 'inputs/images_nchw', 'inputs/tokens', 'inputs/image_ids'],
  ],
  ids=['other arrays', 'no meta', 'no images', 'nothing to compare'],
)
def test_a_file_of_other_arrays_is_the_users_mistake(tmp_path, keys):
  np.savez(tmp_path / 'other.npz', **{key: np.zeros(1) for key in keys})
  with pytest.raises(UserError, match='Expected the keys meta, inputs/images_nchw'):
    parity.read_reference(tmp_path / 'other.npz')


@pytest.mark.parametrize('argv', [['parity'], ['parity', 'one.npz', 'two.npz']])
def test_other_than_one_file_is_the_users_mistake(argv):
  with pytest.raises(UserError, match=r'one argument, .*parity FILE\.npz; found'):
    parity.main(argv)
