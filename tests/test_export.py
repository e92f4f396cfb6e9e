"""The command that exports: its flags, what it prints, and the card's command."""

import json
import shlex
import sys

import pytest
from absl import flags
from absl.testing import flagsaver
from ml_collections import config_flags

from harma_jax import cli
from harma_jax.errors import UserError
from harma_jax.export import main
from harma_jax.rundir.workdir import read_config
from harma_jax.weights import tokenizer_files


@pytest.fixture(autouse=True)
def no_vocabulary(monkeypatch):
  """Neither a package nor the network is asked."""
  for source in ('_read_open_clip', '_read_hub'):
    monkeypatch.setattr(tokenizer_files, source, lambda: None)


@pytest.fixture
def export(capsys, finished_run):
  """`export(out)`: what the command prints."""

  def make(out, *, overwrite=False):
    settings = {'workdir': str(finished_run), 'format': 'open_clip', 'out': str(out)}
    with flagsaver.flagsaver(**settings, overwrite=overwrite):
      main(['export'])
    return capsys.readouterr().out

  return make


def command_of(card):
  """The words after `python -m` of the card's way to train again."""
  start = 'python -m harma_jax.main'
  code = card[card.index(start) :].split('```')[0]
  return shlex.split(code.replace('\\\n', ' '))[2:]


def test_the_size_of_what_was_written_is_printed(export, tmp_path):
  printed = export(tmp_path / 'out')
  size = sum(path.stat().st_size for path in (tmp_path / 'out').iterdir())
  assert printed == f'{tmp_path}/out: {size / 1e6:,.1f} MB\n'


def test_what_is_there_stays_unless_it_is_to_be_overwritten(export, tmp_path):
  export(tmp_path / 'out')
  with pytest.raises(UserError, match='is there already'):
    export(tmp_path / 'out')
  export(tmp_path / 'out', overwrite=True)


def test_the_command_of_the_card_gives_the_config_of_the_run(
  export, finished_run, tmp_path, monkeypatch
):
  export(tmp_path / 'out')
  words = command_of((tmp_path / 'out/README.md').read_text())
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', flag_values=values)
  monkeypatch.setattr(flags, 'FLAGS', values)
  monkeypatch.setattr(sys, 'path', sys.path.copy())
  monkeypatch.chdir(tmp_path)  # the card's config is found by name
  monkeypatch.setattr(sys, 'argv', words)
  cli.parse_flags(words)
  config, _ = cli.read_config_flag('config')
  expected = read_config(finished_run)
  assert config.data.root == 'small'
  assert expected.data.root.endswith('/small')
  expected.data.root = 'small'
  assert json.loads(config.to_json()) == json.loads(expected.to_json())
  assert 'model.adapters' in ' '.join(words)


@pytest.mark.parametrize('flag', ['workdir', 'format', 'out'])
def test_every_flag_is_needed(finished_run, tmp_path, flag):
  given = {'workdir': str(finished_run), 'format': 'open_clip', 'out': f'{tmp_path}/o'}
  with (
    flagsaver.flagsaver(**given | {flag: None}),
    pytest.raises(UserError, match=f'Expected --{flag}='),
  ):
    main(['export'])
