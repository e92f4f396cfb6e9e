"""The tokenizer of a run: kept, found again when its source is gone, and compared."""

import json
import shutil

import numpy as np
import pytest

from harma_jax import load
from harma_jax.building.data import build_source
from harma_jax.building.model import build_model
from harma_jax.building.text import build_tokens
from harma_jax.data.tables import read_table
from harma_jax.errors import UserError
from harma_jax.results.evaluation import evaluate
from harma_jax.rundir.workdir import PRETRAIN, read_config
from harma_jax.training.loop import train

TOWER = 'width=16,{0}.layers=1,{0}.heads=2,{0}.mlp_width=32'
SIZE = ','.join(
  [
    'tiny-siglip',
    *(f'{tower}.{TOWER.format(tower)}' for tower in ('image', 'text')),
    'embedding=16,context_length=40,vocabulary=60',
  ]
)
FIELDS = {
  'model.size': SIZE,
  'model.image_size': 16,
  'train.epochs': 1.0,
  'checkpoint.every_steps': 1,
}


@pytest.fixture(scope='module')
def started(small_config, write_tokenizer, tmp_path_factory):
  """A folder with `weights`, a tokenizer's, and `run`, that has finished with it."""
  folder = tmp_path_factory.mktemp('started')
  tokenizer = write_tokenizer(folder / 'weights')
  config = small_config(FIELDS | {'model.tokenizer': str(tokenizer)})
  train(config, workdir=folder / 'run')
  return folder


@pytest.fixture
def run(started, tmp_path):
  """A copy of the run; the folder that its config names stays where it was."""
  return shutil.copytree(started / 'run', tmp_path / 'run')


@pytest.fixture
def config(small_config, tmp_path, write_tokenizer):
  """Of the run, naming a folder of this test."""
  tokenizer = write_tokenizer(tmp_path / 'weights')
  return small_config(FIELDS | {'model.tokenizer': str(tokenizer)})


def tokens_of(config):
  table = read_table(build_source(config), 'val')
  return build_tokens(config, table, build_model(config))


def test_a_run_reads_texts_when_the_folder_of_its_weights_is_gone(
  run, config, tmp_path
):
  expected, texts = tokens_of(config), ['boats on a river', 'fields']
  features = load(run).encode_texts(texts)
  shutil.rmtree(tmp_path / 'weights')
  kept = read_config(run)
  assert kept.model.tokenizer == str(run / 'tokenizer')
  np.testing.assert_array_equal(tokens_of(kept), expected)
  results = evaluate(kept, workdir=str(run), splits=['val'])
  saved = json.loads((run / 'results.json').read_text())['splits']['val']
  selected = next(row for name, row in saved.items() if name.startswith('step'))
  assert selected.keys() <= results['val']['selected'].keys()
  moved = run.rename(run.with_name('moved'))
  np.testing.assert_array_equal(load(moved).encode_texts(texts), features)
  # The command that started it resumes it, though the folder that it names is gone.
  train(config, workdir=moved)


def test_another_tokenizer_is_refused_on_resume(run, config, write_tokenizer, tmp_path):
  config.model.tokenizer = str(write_tokenizer(tmp_path / 'other', version=1))
  with pytest.raises(
    UserError, match=r'Expected the tokenizer that the run in .*model\.'
  ):
    train(config, workdir=run)
  config.model.tokenizer = ''
  train(config, workdir=run)


def test_both_stages_keep_the_tokenizer(config, tmp_path):
  written = (tmp_path / 'weights/tokenizer.json').read_bytes()
  config = config.copy_and_resolve_references().unlock()
  config.pretrain = {
    'train': {'epochs': 1.0},
  }
  train(config.lock(), workdir=tmp_path / 'run')
  for folder in (tmp_path / 'run', tmp_path / 'run' / PRETRAIN):
    assert (folder / 'tokenizer/tokenizer.json').read_bytes() == written
  # Another run starts from this one, and names no tokenizer.
  config.model.tokenizer, config.init = '', str(tmp_path / 'run' / PRETRAIN)
  train(config, workdir=tmp_path / 'next')
  assert (tmp_path / 'next/tokenizer/tokenizer.json').is_file()


def test_a_text_that_is_too_long_is_refused_by_the_model_of_a_run(run):
  model = load(run)
  with pytest.raises(UserError, match=r'at most 40 tokens.*boats'):
    model.encode_texts(['a boat', 'boats ' * 40])


def test_images_of_a_model_need_no_tokenizer(run, small_data):
  shutil.rmtree(run / 'tokenizer')
  saved = json.loads((run / 'config.json').read_text())
  saved['model']['tokenizer'] = str(run / 'gone')
  (run / 'config.json').write_text(json.dumps(saved))
  model = load(run)
  images = sorted((small_data / 'images').glob('*.png'))[:2]
  assert model.encode_images(images).shape == (2, 16)
  with pytest.raises(UserError, match=r'model\.tokenizer: expected the tokenizer of a'):
    model.encode_texts(['a boat'])
