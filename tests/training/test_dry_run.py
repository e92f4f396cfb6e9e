"""The rehearsal of a run: what it says is so, and nothing stays of it."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from harma_jax.devices.compilation import Memory
from harma_jax.errors import UserError
from harma_jax.rundir.checkpoint import Checkpoints
from harma_jax.training import dry_run as rehearsal
from harma_jax.training.dry_run import check_memory, dry_run

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def facts_of(capsys):
  """`facts_of(config, workdir)`: by the titles of the printed tables, their rows."""

  def run(config, workdir):
    dry_run(config, workdir=workdir)
    return tables_of(capsys.readouterr().out)

  return run


def tables_of(stdout):
  tables, rows, last = {}, {}, ''
  for line in stdout.splitlines():
    if line.startswith('│'):
      name, fact = (cell.strip() for cell in line.strip('│').split('│'))
      rows[name or last] = fact if name else f'{rows[last]} {fact}'
      last = name or last
    elif not line.startswith(('┌', '└')):
      rows = tables[line] = {}
  return tables


def content_of(folder):
  """Every file and folder with its content and the time of its last change."""
  return {
    path: (path.is_file() and path.read_bytes(), path.stat().st_mtime_ns)
    for path in (folder, *folder.rglob('*'))
  }


def test_nothing_is_left_behind(small_config, tmp_path):
  dry_run(small_config(), workdir=tmp_path / 'new/run')
  assert list(tmp_path.iterdir()) == []


def test_the_table_says_what_the_run_would_do(
  small_config, finished_run, facts_of, tmp_path
):
  ((title, facts),) = facts_of(small_config(), tmp_path / 'run').items()
  assert title == f'{tmp_path}/run: a dry run, of which nothing is kept'
  assert facts['devices'] == '8 cpu, data 8 x fsdp 1'
  assert facts['data'].startswith(
    'train: 12 images, 24 captions; val: 6 images, 12 captions; test: 6 images, 12'
  )
  assert facts['parameters'].startswith('513 trainable, ')
  assert facts['batch'] == '8, 1 a device'
  assert facts['steps'] == '3 an epoch, 6 in all; evaluation every 3'
  assert facts['starts from'] == 'random weights'
  assert 'captions of 8 tokens, the longest' in facts['compilation']
  assert re.match(r'[\d.]+ GB \(arguments', facts['memory of a device'])
  rows = map(json.loads, (finished_run / 'metrics.jsonl').read_text().splitlines())
  loss = next(row['loss'] for row in rows if row['kind'] == 'train')
  assert facts['a step'].endswith(f'loss {loss:.4f}')
  expected = r'[\d.]+ s: \d+ steps of [\d.e-]+ s, \d+ evaluations of [\d.]+ s '
  assert re.match(expected, facts['expected time'])
  assert re.match('6 images in .* s, 8 captions in', facts['an evaluation batch'])
  assert 'bit for bit; 0.' in facts['a checkpoint']


def test_a_started_run_is_taken_up_and_left_as_it_is(
  small_config, finished_run, facts_of
):
  before, beside = content_of(finished_run), sorted(finished_run.parent.iterdir())
  (facts,) = facts_of(small_config(), finished_run).values()
  assert facts['starts from'] == f'step 6, where {finished_run} goes on'
  assert content_of(finished_run) == before
  assert sorted(finished_run.parent.iterdir()) == beside


def test_a_run_that_saved_no_step_starts_from_its_weights(
  small_config, finished_run, facts_of, tmp_path
):
  shutil.copytree(finished_run, tmp_path / 'run')
  shutil.rmtree(tmp_path / 'run/checkpoints')
  (facts,) = facts_of(small_config(), tmp_path / 'run').values()
  assert facts['starts from'] == 'random weights'


def test_each_stage_is_rehearsed(small_config, facts_of, tmp_path):
  config = small_config().copy_and_resolve_references()
  with config.unlocked():
    config.pretrain = ConfigDict({'optimizer': {'train': 'full'}})
  first, second = facts_of(config.lock(), tmp_path / 'run').values()
  assert first['starts from'] == 'random weights'
  assert first['parameters'].endswith(', 1 frozen')
  assert second['starts from'].startswith('what /')
  assert second['starts from'].endswith('will have learned; here after one step of it')
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  'changes', [{'train.epochs': 0.0}, {'optimizer.train': 'none', 'train.epochs': 3.0}]
)
def test_a_run_that_only_evaluates_rehearses_no_step(
  small_config, facts_of, tmp_path, changes
):
  (facts,) = facts_of(small_config(changes), tmp_path / 'run').values()
  assert facts['steps'].startswith('3 an epoch, 0 in all')
  assert 'a step' not in facts
  assert 'compilation' not in facts
  assert re.match('6 images in .* s, 8 captions in', facts['an evaluation batch'])
  assert 'bit for bit' in facts['a checkpoint']


def test_batches_that_are_not_kept_and_no_evaluation(small_config, facts_of, tmp_path):
  changes = {
    **{'data.cache': 'stream', 'data.val_split': '', 'data.test_split': ''},
    **{'data.captions_per_image': 2, 'harmonization.pair': 'captions'},
  }
  (facts,) = facts_of(small_config(changes), tmp_path / 'run').values()
  assert facts['data'] == 'train: 12 images, 24 captions; data.cache=stream'
  assert 'an evaluation batch' not in facts


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'train.batch_size': 12}, 'expected a multiple of the 8 devices; found 12'),
    ({'data.root': ''}, r'--config\.data\.root=FOLDER'),
    ({'init': '/no/weights.npz'}, "init: .*'/no/weights.npz'"),
  ],
)
def test_a_mistake_is_found_and_nothing_left(small_config, tmp_path, changes, words):
  with pytest.raises(UserError, match=words):
    dry_run(small_config(changes), workdir=tmp_path / 'run')
  assert list(tmp_path.iterdir()) == []


def test_another_config_than_that_of_the_run_is_refused(small_config, finished_run):
  before = content_of(finished_run.parent)
  with pytest.raises(UserError, match=r'learning_rate was 0\.02, now 0\.5'):
    dry_run(small_config({'optimizer.learning_rate': 0.5}), workdir=finished_run)
  assert content_of(finished_run.parent) == before


def test_other_data_than_those_of_the_run_are_refused(
  small_config, finished_run, tmp_path
):
  shutil.copytree(finished_run, tmp_path / 'run')
  prints = json.loads((tmp_path / 'run/data.json').read_text())
  (tmp_path / 'run/data.json').write_text(json.dumps(prints | {'val': 'other'}))
  with pytest.raises(UserError, match='captions of val are others now'):
    dry_run(small_config(), workdir=tmp_path / 'run')
  assert [path.name for path in tmp_path.iterdir()] == ['run']


def test_an_unreadable_image_is_named(small_config, write_data, tmp_path):
  data = write_data(tmp_path / 'data')
  (data / 'images/train_7.png').write_bytes(b'no image')
  with pytest.raises(UserError, match=r'train_7\.png'):
    dry_run(small_config({'data.root': str(data)}), workdir=tmp_path / 'run')
  assert [path.name for path in tmp_path.iterdir()] == ['data']


def test_a_file_in_the_place_of_the_work_folder_is_refused(small_config, tmp_path):
  (tmp_path / 'file').write_text('precious')
  with pytest.raises(UserError, match=f'can be written; found {tmp_path}/file'):
    dry_run(small_config(), workdir=tmp_path / 'file')
  assert (tmp_path / 'file').read_text() == 'precious'


def test_what_is_restored_otherwise_is_a_defect(small_config, monkeypatch, tmp_path):
  restore = Checkpoints.restore

  def spoiled(self, step, abstract):
    state = restore(self, step, abstract)
    return state.replace(step=state.step + 1)

  monkeypatch.setattr(Checkpoints, 'restore', spoiled)
  with pytest.raises(RuntimeError, match='differs from what was saved'):
    dry_run(small_config(), workdir=tmp_path / 'run')
  assert list(tmp_path.iterdir()) == []


def test_bits_are_compared_and_not_values():
  nan, zero, minus = (jnp.float32(value) for value in (jnp.nan, 0.0, -0.0))
  assert rehearsal._same_bits(nan, nan + 0)
  assert not rehearsal._same_bits(zero, minus)


def test_a_step_that_does_not_fit_the_device_is_refused():
  memory = Memory(
    arguments=5 * 10**9, outputs=3 * 10**9, temporaries=2 * 10**9, aliased=10**9
  )
  check_memory(memory, available=9 * 10**9)
  check_memory(memory, available=None)
  words = r'a device of 8\.999 GB; found 9\.000 GB \(arguments 5\.000 GB.*batch_size'
  with pytest.raises(UserError, match=words):
    check_memory(memory, available=9 * 10**9 - 10**6)


@pytest.mark.slow
def test_from_the_command_line(environment, small_data, tmp_path):
  def started(*words):
    command = [sys.executable, '-m', 'harma_jax.main', *words]
    settings = {'env': environment, 'cwd': tmp_path, 'timeout': 170}
    return subprocess.run(command, capture_output=True, text=True, **settings)

  toy = f'--config={REPOSITORY}/benchmarks/toy.py'
  ran = started(toy, f'--config.data.root={small_data}', '--dry_run')
  assert ran.returncode == 0, ran.stderr
  assert 'workdir/toy: a dry run' in ran.stdout
  ran = started(toy, '--dry_run_topology=tpu:4')
  assert ran.returncode == 0, ran.stderr
  facts, *of_programs = tables_of(ran.stdout).values()
  assert facts['devices'] == '4 tpu, data 4 x fsdp 1'
  assert ['memory of each CPU' in program for program in of_programs] == [True, True]
  assert list(tmp_path.iterdir()) == []
