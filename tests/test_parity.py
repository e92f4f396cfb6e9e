"""The command line that compares with the original: its JSON and exit codes."""

import json

import numpy as np
import pytest

from harma_jax import parity
from harma_jax.errors import UserError

FILE = 'harma_released.npz'
ALTERED = 'weights/model.visual.transformer.resblocks.0.mlp.c_fc.weight'


def test_an_altered_weight_is_found(reference_dir, tmp_path, capsys, monkeypatch):
  # Gradients take longest to compile and are compared above.
  monkeypatch.setattr(
    'harma_jax.reference.quantities.training', lambda *_, **__: iter(())
  )
  with np.load(reference_dir / FILE) as arrays:
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


def test_a_file_that_is_none_is_the_users_mistake(tmp_path):
  with pytest.raises(UserError, match=r'readable \.npz file; found .*gone\.npz'):
    parity.main(['parity', str(tmp_path / 'gone.npz')])


@pytest.mark.parametrize('argv', [['parity'], ['parity', 'one.npz', 'two.npz']])
def test_other_than_one_file_is_the_users_mistake(argv):
  with pytest.raises(UserError, match=r'one argument, .*parity FILE\.npz; found'):
    parity.main(argv)
