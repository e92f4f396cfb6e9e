"""A run that was begun before the package had rooms ends as it would have then.

`started_run.tar.xz` is the work folder of a toy with HarMA's adapters on `small_data`,
stopped before the fifth of six steps by the code of commit 6b808a1 on one CPU device,
and `ended_run.npz` the weights that the same code ended with when it went on.
"""

import dataclasses
import pathlib
import tarfile

import jax
import numpy as np
import pytest

from harma_jax.building import recipe, text
from harma_jax.building.params import read_workdir
from harma_jax.devices.mesh import make_mesh
from harma_jax.model.sizes import SIZES, Size, TowerSize
from harma_jax.rundir.reading import read_rows
from harma_jax.rundir.workdir import read_config
from harma_jax.training.loop import train
from harma_jax.weights.names import paths_of

HERE = pathlib.Path(__file__).parent
TOWER = TowerSize(width=16, layers=2, heads=2)
SIZE = Size(
  image=TOWER,
  text=TOWER,
  image_size=16,
  patch_size=8,
  embedding=16,
  activation='gelu',
  context_length=8,
  vocabulary=256,  # larger ids are taken for the last one: the folder stays small
)


@pytest.fixture
def older_run(tmp_path, monkeypatch):
  monkeypatch.setitem(SIZES, 'few-words', SIZE)
  few = dataclasses.replace(text.CLIP_TOKENIZER, vocabulary=SIZE.vocabulary)
  monkeypatch.setattr(text, 'CLIP_TOKENIZER', few)
  with tarfile.open(HERE / 'started_run.tar.xz') as archive:
    archive.extractall(tmp_path, filter='data')
  return tmp_path / 'started_run'


def ended(workdir):
  return paths_of(read_workdir(workdir))


def without_key(path, leaf):
  """A key's bias, which softmax ignores, has no gradient at all."""
  if not path.endswith('qkv/bias'):
    return leaf
  query, _, value = np.split(leaf, 3, axis=-1)
  return np.concatenate([query, value], axis=-1)


def go_on(workdir, *, root):
  config = read_config(workdir)
  config.data.root = str(root)
  train(config.lock(), workdir=workdir)


def test_an_older_run_goes_on_to_the_weights_that_it_would_have_had(
  older_run, small_data, monkeypatch
):
  one = {'devices': jax.devices()[:1]}
  monkeypatch.setattr(recipe, 'make_mesh', lambda **given: make_mesh(**given | one))
  go_on(older_run, root=small_data)
  expected, found = np.load(HERE / 'ended_run.npz'), ended(older_run)
  assert set(found) == set(expected.files)
  for path in found:
    # Tests compile with other flags, attention sums in another order, and Adam makes
    # steps of rounding where there is next to no gradient; two steps move a weight by
    # about 0.01.
    both = without_key(path, found[path]), without_key(path, expected[path])
    np.testing.assert_allclose(*both, atol=2e-3, err_msg=path)
  steps = [r['step'] for r in read_rows(older_run / 'metrics.jsonl') if 'loss' in r]
  assert steps == [1, 2, 3, 4, 5, 6]
