"""A run rehearsed: its tables, the program that stands in, and what would fit."""

import pathlib

import pytest

from harma_jax.devices.targets import read_topology
from harma_jax.errors import UserError
from harma_jax.rehearsal import run
from harma_jax.rehearsal.refusal import Refusal
from harma_jax.rehearsal.run import (
  dry_run_topology,
)

LARGE = Refusal(needed=20 * 2**30, available=int(15.75 * 2**30))


@pytest.mark.parametrize('cache', ['device', 'host'])
def test_a_table_is_printed_and_no_folder_made(small_config, tmp_path, capsys, cache):
  config = small_config({'data.root': '', 'data.cache': cache})
  dry_run_topology(config, workdir=tmp_path / 'run', topology=read_topology('tpu:8'))
  stdout = capsys.readouterr().out
  assert stdout.startswith(f'{tmp_path}/run: the step on devices that are not there')
  for words in ('8 tpu, data 8 x fsdp 1', '513 trainable', '8, 1 a device', 'all-'):
    assert words in stdout
  assert 'the program is the one for 8 CPU devices' in stdout
  assert 'for captions of 8 tokens' in stdout
  assert 'memory of each CPU' in stdout
  assert ('each device holds its part' in stdout) == (cache == 'device')
  assert list(tmp_path.iterdir()) == []


def test_the_bias_of_a_sigmoid_loss_is_rehearsed_too(small_config, tmp_path, capsys):
  config = small_config({'data.root': '', 'objective.contrastive': 'sigmoid'})
  dry_run_topology(config, workdir=tmp_path / 'run', topology=read_topology('tpu:8'))
  assert '514 trainable' in capsys.readouterr().out


@pytest.mark.usefixtures('no_compilers')
@pytest.mark.parametrize(
  ('topology', 'words'),
  [('v5e:2x4', 'libtpu is not installed'), ('h100:8', 'CUDA plugin is not installed')],
)
def test_without_a_compiler_the_program_of_cpus_stands_in_and_says_so(
  small_config, tmp_path, capsys, topology, words
):
  config = small_config({'data.root': ''})
  dry_run_topology(config, workdir=tmp_path, topology=read_topology(topology))
  stdout = ' '.join(capsys.readouterr().out.split())
  extra = 'tpu' if topology.startswith('v') else 'cuda'
  assert words in stdout
  assert f"pip install 'harma_jax[{extra}]'" in stdout
  assert 'memory of each CPU' in stdout
  assert 'fits' not in stdout


def test_quick_is_the_longest_alone(small_config, tmp_path, capsys):
  config = small_config(
    {'data.root': '', 'model.size': 'tiny-16', 'model.adapters': 'none'}
  )
  topology = read_topology('tpu:8')
  dry_run_topology(config, workdir=tmp_path, topology=topology, quick=True)
  stdout = capsys.readouterr().out
  assert 'captions of 24 tokens' in stdout
  assert 'captions of 16 tokens' not in stdout


def test_what_does_not_fit_is_one_message_with_what_was_compiled_and_fits(
  stage, record, monkeypatch
):
  def compile_again(changed, *, length):
    return record(refusal=None if changed.config.model.remat == 'block' else LARGE)

  monkeypatch.setattr(run, '_compile_again', compile_again)
  large = stage({'model.remat': 'none'})
  message = str(run.no_fit(large, record(refusal=LARGE)))
  assert message.startswith(
    'Expected a step that fits tpu:8; found, for captions of 77'
  )
  assert 'tokens, 20.00 GiB for a device that has 15.75 GiB. What was' in message
  assert 'compiled and fits, in 1.00 GiB: --config.model.remat=block.' in message


def test_where_nothing_fits_the_message_says_what_was_tried(stage, record, monkeypatch):
  large = record(refusal=LARGE)
  monkeypatch.setattr(run, '_compile_again', lambda changed, *, length: large)
  message = str(run.no_fit(stage({'model.remat': 'none'}), large))
  assert 'Compiled, and did not fit either: ' in message
  assert '--config.model.remat=block' in message
  assert message.endswith('Take more or larger devices.')


def test_the_tables_come_before_the_message(small_config, record, monkeypatch, capsys):
  large = record(refusal=LARGE)
  monkeypatch.setattr(run, 'rehearse', lambda stage, *, length: large)
  monkeypatch.setattr(run, '_compile_again', lambda changed, *, length: large)
  config = small_config({'data.root': ''})
  topology = read_topology('tpu:8')
  with pytest.raises(UserError, match='Expected a step that fits tpu:8'):
    dry_run_topology(config, workdir=pathlib.Path('run'), topology=topology)
  assert '20.00 GiB for a device that has 15.75 GiB' in capsys.readouterr().out


def test_the_step_of_the_toy_is_compiled_for_tpus_that_are_not_there(
  run_with_libtpu, tmp_path
):
  command = '-m', 'harma_jax.main', '--config=benchmarks/toy.py'
  words = '--dry_run_topology=v5e:2x2', '--quick', f'--workdir={tmp_path}/run'
  stdout = ' '.join(run_with_libtpu(*command, *words).stdout.split())
  for expected in ('4 v5e', 'libtpu 0.', 'yes: ', 'ms by the estimate of the compiler'):
    assert expected in stdout
  assert list(tmp_path.iterdir()) == []
