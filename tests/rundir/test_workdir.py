"""The folder of a run: whose it is, what may change, what a refusal leaves alone."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from harma_jax.configs.common import get_config
from harma_jax.errors import UserError
from harma_jax.rundir.workdir import (
  LATER,
  append_rows,
  check_workdir,
  claim,
  default_workdir,
  flat,
  held,
  is_workdir,
  read_config,
  replace_text,
  writing,
)

DATA = {'train': 'a1', 'val': 'b2'}
OLDER = pathlib.Path(__file__).with_name('older_config.json')


@pytest.fixture
def used(tmp_path, small_config):
  """The folder of a run of `small_config()` that has saved a step."""
  claim(tmp_path, small_config(), data=DATA)
  (tmp_path / 'checkpoints/3').mkdir(parents=True)
  return tmp_path


def content(folder):
  return {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def test_a_claimed_folder_holds_every_field(tmp_path, small_config):
  config = small_config()
  assert not is_workdir(tmp_path / 'new')
  claim(tmp_path / 'deep/new', config, data=DATA)
  assert is_workdir(tmp_path / 'deep/new')
  assert read_config(tmp_path / 'deep/new').to_json() == config.to_json()
  assert json.loads((tmp_path / 'deep/new/data.json').read_text()) == DATA
  names = {path.name for path in (tmp_path / 'deep/new').iterdir()}
  assert names == {'config.json', 'data.json'}


def test_a_run_from_before_some_fields_has_their_defaults(tmp_path):
  (tmp_path / 'config.json').write_text(OLDER.read_text())
  older, defaults = flat(read_config(tmp_path)), flat(get_config())
  assert older.keys() == defaults.keys(), 'name the new fields in workdir.LATER'
  # Where nothing is said, captions are cleaned as they were before there was a choice.
  # And there was one contrastive loss.
  then = {'data.cleaning': 'released', 'objective.contrastive': 'softmax'}
  expected = {name: defaults[name] for name in LATER} | then
  assert {name: older[name] for name in LATER} == expected


@pytest.mark.parametrize(('said', 'meant'), [(True, 'harma'), (False, 'none')])
def test_a_run_that_only_says_whether_there_are_adapters_means_those_of_harma(
  used, small_config, said, meant
):
  config = json.loads((used / 'config.json').read_text())
  config['model']['adapters'] = said
  for name in LATER:
    section, _, field = name.partition('.')
    config[section].pop(field.partition('.')[0], None)
  (used / 'config.json').write_text(json.dumps(config))
  check_workdir(
    used, small_config({'model.adapters': meant, 'objective.contrastive': 'softmax'})
  )


def test_the_same_config_may_come_back(used, small_config):
  claim(used, small_config(), data=DATA)
  check_workdir(used, small_config())


def test_a_run_that_kept_everything_goes_on_with_what_is_chosen(tmp_path, small_config):
  before = small_config({'model.remat': 'none', 'model.layers': 'scan'})
  claim(tmp_path, before, data=DATA)
  (tmp_path / 'checkpoints/3').mkdir(parents=True)
  assert small_config().model.remat == 'auto'
  claim(tmp_path, small_config(), data=DATA)
  assert read_config(tmp_path).model.remat == 'auto'


def test_another_config_is_refused_and_its_values_are_named(used, small_config):
  before = content(used)
  changes = {'optimizer.learning_rate': 0.5, 'train.epochs': 9.0}
  with pytest.raises(UserError) as error:
    claim(used, small_config(changes), data=DATA)
  assert 'optimizer.learning_rate was 0.02, now 0.5' in str(error.value)
  assert 'train.epochs was 2.0, now 9.0' in str(error.value)
  assert '--workdir' in str(error.value)
  assert str(used) in str(error.value)
  assert content(used) == before


def test_a_field_that_only_one_of_the_configs_has_is_named(used, small_config):
  config = small_config()
  with config.unlocked():
    config.pretrain = {'train': {'epochs': 1.0}}
  with pytest.raises(UserError, match=r'pretrain\.train\.epochs was None, now 1\.0'):
    check_workdir(used, config)


def test_what_does_not_change_the_run_may_change(used, small_config):
  changes = {
    'log_every': 7,
    'checkpoint.keep': 3,
    'train.microbatch': 8,
    'model.remat': 'block',
    'model.layers': 'unroll',
    'data.threads': 2,
    'data.workers': 3,
    'data.cache': 'stream',
    'data.root': '/elsewhere',
  }
  claim(used, small_config(changes), data=DATA)
  assert read_config(used).data.root == '/elsewhere'


def test_other_data_are_refused_and_the_split_is_named(used, small_config):
  before = content(used)
  with pytest.raises(UserError, match='captions of val are others now'):
    claim(used, small_config(), data=DATA | {'val': 'c3'})
  assert content(used) == before


def test_a_folder_without_weights_may_be_taken_by_another_config(
  tmp_path, small_config
):
  claim(tmp_path, small_config(), data=DATA)
  (tmp_path / 'checkpoints').mkdir()
  claim(tmp_path, small_config({'train.epochs': 9.0}), data={'train': 'z'})
  assert read_config(tmp_path).train.epochs == 9.0


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path, small_config):
  (tmp_path / 'file').write_text('precious')
  for place in (tmp_path / 'file', tmp_path / 'file/below'):
    with pytest.raises(
      UserError, match=r'work folder that can be written; found .*file'
    ):
      claim(place, small_config(), data=DATA)
  assert (tmp_path / 'file').read_text() == 'precious'


def test_only_the_first_process_writes(tmp_path, small_config):
  claim(tmp_path / 'run', small_config(), data=DATA, write=False)
  assert not (tmp_path / 'run').exists()


def test_a_folder_that_is_no_run_cannot_be_read(tmp_path):
  with pytest.raises(
    UserError, match=r'work folder of a run, with config\.json; found'
  ):
    read_config(tmp_path)
  assert not is_workdir('')


def test_replacing_a_file_never_shows_a_part_of_it(tmp_path, monkeypatch):
  path = tmp_path / 'file'
  path.write_text('old')

  def stop(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(os, 'replace', stop)
    with pytest.raises(KeyboardInterrupt):
      replace_text(path, 'new')
  assert path.read_text() == 'old'
  replace_text(path, 'new')
  assert [p.name for p in tmp_path.iterdir()] == ['file']
  assert path.read_text() == 'new'


@pytest.mark.parametrize(
  ('config', 'workdir'),
  [
    ('configs/rsitmd.py', 'workdir/rsitmd'),
    ('/some/where/rsicd.py:tiny', 'workdir/rsicd-tiny'),
    ('configs/methods.py:lora:rsitmd:clip', 'workdir/methods-lora-rsitmd-clip'),
  ],
)
def test_the_default_folder_is_named_by_the_config(config, workdir):
  assert default_workdir(config).as_posix() == workdir


def test_a_folder_that_is_held_is_refused_until_it_is_let_go(tmp_path):
  refused = pytest.raises(UserError, match=f'found {tmp_path} in use')
  with held(tmp_path):
    with refused, held(tmp_path):
      pytest.fail('held twice')
    with held(tmp_path, hold=False):
      pass
  with held(tmp_path):
    pass


def test_a_folder_is_let_go_by_a_process_that_is_killed(tmp_path):
  imports = 'from harma_jax.rundir.workdir import held'
  holds = f'import sys, time; from pathlib import Path; {imports}'
  program = f'{holds}\nwith held(Path(sys.argv[1])): print(flush=True); time.sleep(99)'
  command = [sys.executable, '-c', program, str(tmp_path)]
  with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
    other.stdout.readline()
    with pytest.raises(UserError, match='in use'), held(tmp_path):
      pytest.fail('held twice')
    other.kill()
  with held(tmp_path):
    pass


@pytest.mark.parametrize(
  ('write', 'content'), [(replace_text, '{}'), (append_rows, [{}])]
)
def test_what_cannot_be_written_is_named(tmp_path, write, content):
  folder = tmp_path / 'file'
  folder.write_text('precious')
  with pytest.raises(UserError, match=f'found {folder}: Not a directory'):
    write(folder / 'a.json', content)


def test_an_error_that_is_not_of_the_disk_goes_through(tmp_path):
  with pytest.raises(ValueError, match='a defect'), writing(tmp_path):
    raise ValueError('a defect')


def test_a_full_disk_is_named_by_what_the_system_says():
  with (
    pytest.raises(UserError, match='found run: No space left on device'),
    writing(pathlib.Path('run')),
    open('/dev/full', 'w') as file,
  ):
    file.write('row\n')


def test_the_pretraining_of_moved_seeds_is_found_beside_them(tmp_path, small_config):
  for name in ('pretrain', 'seed_0'):
    init = '' if name == 'pretrain' else str(tmp_path / 'there/pretrain')
    config = small_config({'init': init})
    claim(tmp_path / 'there' / name, config, data=DATA)
    (tmp_path / 'there' / name / 'checkpoints/3').mkdir(parents=True)
  assert read_config(tmp_path / 'there/seed_0').init == init
  moved = (tmp_path / 'there').rename(tmp_path / 'here')
  assert read_config(moved / 'seed_0').init == str(moved / 'pretrain')
  check_workdir(moved / 'seed_0', small_config({'init': str(moved / 'pretrain')}))


def test_a_config_that_was_cut_is_named(used, small_config):
  text = (used / 'config.json').read_text()
  (used / 'config.json').write_text(text[: len(text) // 2])
  with pytest.raises(UserError, match=f'that a run has written, {used}/config.json'):
    check_workdir(used, small_config())
