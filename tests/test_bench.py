"""The command line of the benchmark."""

import json

import pytest
from absl.testing import flagsaver

from harma_jax.bench import main
from harma_jax.errors import UserError
from harma_jax.speed.report import FIELDS


@pytest.fixture
def call(small_config, monkeypatch, capsys):
  """`call(mode='step')`: what is printed of the small config."""
  config = small_config()
  monkeypatch.setattr('harma_jax.cli.read_config_flag', lambda name: (config, ''))

  def run(*words, **values):
    with flagsaver.flagsaver(**{'steps': 2, 'warmup': 0} | values):
      main(['bench', *words])
    return capsys.readouterr().out

  return run


def test_the_command_prints_one_object_and_writes_it(call, tmp_path):
  out = tmp_path / 'found.json'
  printed = call(mode='pipeline', out=str(out))
  assert printed == out.read_text()
  found = json.loads(printed)
  assert set(FIELDS) < set(found)
  assert found['mode'] == 'pipeline'
  assert found['pairs_per_second']['mean'] > 0


def test_compiled_writes_a_record_for_each_target(call, monkeypatch, tmp_path):
  monkeypatch.setattr('harma_jax.rehearsal.grid.prepare', lambda topologies: None)
  out = tmp_path / 'found.json'
  values = {'targets': ['tpu:8', 'cuda:4'], 'batches': ['8'], 'lengths': ['8']}
  printed = call(mode='compiled', out=str(out), **values)
  assert printed == out.read_text()
  programs = json.loads(printed)['programs']
  assert [program['target'] for program in programs] == ['tpu:8', 'cuda:4']


def test_mistakes_are_one_message(call, tmp_path):
  with pytest.raises(UserError, match='found quickly'):
    call('quickly')
  with pytest.raises(UserError, match=r'found none. Give --targets, as in'):
    call(mode='compiled')
  with pytest.raises(UserError, match=r'--targets: expected .*; found .v5e:four'):
    call(mode='compiled', targets=['v5e:four'])
  with pytest.raises(UserError, match=r'--batches: expected numbers .*; found .8,x'):
    call(mode='compiled', targets=['tpu:8'], batches=['8', 'x'])
  with pytest.raises(UserError, match=r'--out=.*: expected a file that can be written'):
    call(mode='pipeline', out=str(tmp_path))
