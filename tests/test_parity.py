"""The command line that compares with the original: its JSON and exit codes."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver

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
  with flagsaver.flagsaver(out=str(tmp_path / 'report.json')):
    assert parity.main(['parity', str(tmp_path / 'altered.npz')]) == 1
  report = json.loads((tmp_path / 'report.json').read_text())
  wrong = {name for name, row in report.items() if not row['ok']}
  assert {'hidden/image_block_0', 'outputs/image_features'} <= wrong
  *lines, verdict = capsys.readouterr().out.splitlines()
  assert verdict.startswith(
    f'{len(wrong)} of {len(report)} quantities differ; furthest'
  )
  assert sum(line.startswith('DIFFERS') for line in lines) == len(wrong)
  # The text tower and the losses on given features do not depend on it.
  assert not {name for name in wrong if name.startswith(('hidden/text', 'losses/'))}


def test_main_returns_zero_where_all_agree(monkeypatch, capsys):
  row = {'max_abs_error': 0.0, 'max_rel_error': 0.0, 'ok': True}
  monkeypatch.setattr(
    'harma_jax.reference.file.read_reference', lambda path: {'read': path}
  )
  monkeypatch.setattr(
    'harma_jax.reference.agreement.compare', lambda reference: {reference['read']: row}
  )
  assert parity.main(['parity', 'file.npz']) == 0
  assert capsys.readouterr().out.splitlines() == [
    'agrees    0.0e+00  file.npz',
    'all 1 quantities agree with the original; furthest off: file.npz by 0.0e+00 of '
    'its largest entry',
  ]
  with flagsaver.flagsaver(json=True):
    assert parity.main(['parity', 'file.npz']) == 0
  assert json.loads(capsys.readouterr().out) == {'file.npz': row}


def test_a_file_that_is_none_is_the_users_mistake(tmp_path):
  with pytest.raises(UserError, match=r'readable \.npz file; found .*gone\.npz'):
    parity.main(['parity', str(tmp_path / 'gone.npz')])


@pytest.mark.parametrize('argv', [['parity'], ['parity', 'one.npz', 'two.npz']])
def test_other_than_one_file_is_the_users_mistake(argv):
  with pytest.raises(UserError, match=r'one argument, .*parity FILE\.npz; found'):
    parity.main(argv)
