"""What a card says how to load is run as it stands, where the export lies."""

import importlib.util
import json
import shlex
import sys

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from harma_jax import cli
from harma_jax.building.model import build_model
from harma_jax.building.params import build_params, read_workdir
from harma_jax.results.export import export
from harma_jax.training.loop import train
from harma_jax.weights.names import paths_of

ADAPTED = {'optimizer.train': 'adapters', 'train.epochs': 1.0}


@pytest.fixture(scope='module')
def runs(small_config, finished_run, tmp_path_factory):
  """`runs(kind)`: the folder of a run with adapters, of one step."""
  folder = tmp_path_factory.mktemp('adapted')

  def of(kind):
    if not (folder / kind).exists():
      fields = ADAPTED | {'model.adapters': kind, 'init': str(finished_run)}
      train(small_config(fields), workdir=folder / kind)
    return folder / kind

  return of


@pytest.fixture
def exported(runs, finished_run, small_data, tmp_path, monkeypatch):
  """`exported(kind, format)`: the card; data, backbone and export lie in the cwd."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'small').symlink_to(small_data)
  (tmp_path / 'run').symlink_to(finished_run)

  def make(kind, format):
    run = finished_run if kind == 'none' else runs(kind)
    export(run, format=format, out=tmp_path / 'out', overwrite=False)
    return (tmp_path / 'out/README.md').read_text()

  return make


@pytest.mark.parametrize(
  ('kind', 'format', 'needed'),
  [
    ('none', 'open_clip', ['open_clip']),
    ('none', 'huggingface', ['transformers', 'open_clip']),
    ('harma', 'huggingface-remote', ['transformers', 'open_clip']),
    ('none', 'onnx', ['onnxscript', 'onnxruntime', 'transformers']),
  ],
)
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')
def test_the_code_of_a_card_runs(exported, kind, format, needed, tmp_path, monkeypatch):
  for package in ('torch', *needed):
    if importlib.util.find_spec(package) is None:
      pytest.skip(f'{package}, which the code imports, is not installed')
  monkeypatch.setattr(sys, 'path', list(sys.path))
  monkeypatch.setattr(
    'transformers.dynamic_module_utils.HF_MODULES_CACHE', str(tmp_path / 'modules')
  )
  card = exported(kind, format)
  code = card[card.index('## How to load') :].split('```python\n')[1].split('```')[0]
  exec(code, names := {})
  if format == 'huggingface-remote':
    for features in (names['image_features'], names['text_features']):
      assert features.shape == (1, 16)
      np.testing.assert_allclose(features.detach().norm(dim=-1), 1, rtol=1e-5)
  elif format == 'onnx':
    assert names['similarity'].shape == (2, 2)
  else:
    assert sum(p.numel() for p in names['model'].parameters()) > 1000
    assert len(names['tokenizer'](['a boat']))


def config_of(words, monkeypatch):
  """The config and the flags of a command line, by the parser of the command."""
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', flag_values=values)
  flags.DEFINE_string('workdir', None, '', flag_values=values)
  with monkeypatch.context() as patch:
    patch.setattr(flags, 'FLAGS', values)
    patch.setattr(sys, 'argv', words)
    patch.setattr(sys, 'path', sys.path.copy())
    cli.parse_flags(words)
    return cli.read_config_flag('config')[0], values.workdir


@pytest.mark.parametrize(
  ('kind', 'format'), [('lora', 'adapter'), ('lora', 'peft'), ('harma', 'adapter')]
)
def test_the_command_of_a_card_starts_from_what_was_exported(
  exported, runs, kind, format, tmp_path, monkeypatch
):
  card = exported(kind, format)
  command = card[card.index('## How to load') :]
  command = command[command.index('python -m harma_jax.main') :].split('```')[0]
  words = shlex.split(command.replace('\\\n', ' '))[2:]
  config, workdir = config_of(words, monkeypatch)
  params, _ = build_params(config, build_model(config), init=config.init)
  found = paths_of(params)
  for path, leaf in paths_of(read_workdir(runs(kind))).items():
    if path != 'temperature' or format == 'adapter':
      np.testing.assert_array_equal(found[path], leaf, err_msg=path)
  train(config, workdir=tmp_path / workdir)
  results = json.loads((tmp_path / 'again/results.json').read_text())
  assert results['steps'] == 3


def test_sentence_transformers_reads_a_folder_of_transformers(exported, tmp_path):
  modules = pytest.importorskip('sentence_transformers')
  pytest.importorskip('open_clip', exc_type=ImportError)
  exported('none', 'huggingface')
  clip = modules.sentence_transformer.modules.CLIPModel(str(tmp_path / 'out'))
  model = modules.SentenceTransformer(modules=[clip], device='cpu')
  found = model.encode(['boats on a river', 'fields'])
  assert found.shape == (2, 16)
