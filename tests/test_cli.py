"""Command lines: what flags give, and one message for each of a user's mistakes."""

import os
import sys
import types

import pytest
from absl import flags
from ml_collections import config_flags

from harma_jax import cli
from harma_jax.errors import UserError

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RSITMD = 'configs/rsitmd.py'


@pytest.fixture
def parse(monkeypatch):
  """`parse(*words)`: the config and the path that a command line gives."""
  monkeypatch.chdir(REPOSITORY)

  def run(*words):
    values = flags.FlagValues()
    config_flags.DEFINE_config_file('config', flag_values=values)
    monkeypatch.setattr(flags, 'FLAGS', values)
    monkeypatch.setattr(sys, 'argv', ['main', *words])
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    cli.no_arguments(cli.parse_flags(sys.argv))
    return cli.read_config_flag('config')

  return run


@pytest.fixture
def write(tmp_path):
  """`write(text)`: the path of a config file."""

  def make(text):
    path = tmp_path / 'mine.py'
    path.write_text(text)
    return str(path)

  return make


def message_of(parse, *words):
  with pytest.raises(UserError) as error:
    parse(*words)
  return str(error.value)


@pytest.mark.parametrize('words', [[f'--config={RSITMD}'], ['--config', RSITMD]])
def test_a_config_is_read_and_locked(parse, words):
  config, path = parse(*words)
  assert path == RSITMD
  assert config.train.epochs == 50.0
  assert config.is_locked


def test_fields_are_set_with_the_types_they_have(parse):
  config, path = parse(
    f'--config={RSITMD}:tiny',
    '--config.train.epochs=3',
    '--config.train.batch_size=64',
    '--config.augment.crop_scale=(0.2, 0.9)',
    '--config.data.root=there',
    '--config.model.adapters=none',
    '--noconfig.objective.mask_same_image',
    '--config.pretrain.train.epochs=1.5',
  )
  assert path == f'{RSITMD}:tiny'
  assert (config.train.epochs, config.train.batch_size) == (3.0, 64)
  assert config.augment.crop_scale == (0.2, 0.9)
  assert config.data.root == 'there'
  assert config.model.adapters == 'none'
  assert config.objective.mask_same_image is False
  assert config.pretrain.train.epochs == 1.5


@pytest.mark.parametrize('words', [[], ['--config='], ['--config']])
def test_a_config_must_be_given(parse, words):
  message = message_of(parse, *words)
  assert '--config' in message
  assert 'found none' in message or 'Missing value' in message


@pytest.mark.parametrize('more', [[], ['--config.train.epochs=3']])
def test_a_config_that_is_not_there_is_named(parse, more):
  message = message_of(parse, '--config=configs/none.py', *more)
  assert message.startswith('--config=configs/none.py: expected a file')
  assert REPOSITORY in message


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('def get_config(:', ['SyntaxError', 'line 1']),
    ('x = 1\nimport no_such_module', ['line 2', "No module named 'no_such_module'"]),
    ('x = 1', ['get_config']),
    ('def get_config():\n  return 1 + "a"', ['line 2', 'TypeError']),
    ('def get_config():\n  raise OSError("disk")', ['line 2', 'OSError: disk']),
  ],
)
@pytest.mark.parametrize('more', [[], ['--config.train.epochs=3']])
def test_a_config_that_fails_is_named_with_its_line(parse, write, text, words, more):
  path = write(text)
  message = message_of(parse, f'--config={path}', *more)
  assert message.startswith(f'--config={path}: ')
  for word in words:
    assert word in message
  assert 'Traceback' not in message


def test_a_file_that_gives_no_config_is_named(parse, write):
  path = write('def get_config():\n  return {"train": 1}')
  message = message_of(parse, f'--config={path}')
  assert message.startswith(f'--config={path}: expected a file whose get_config()')
  assert 'found dict' in message


def test_a_users_own_file_may_lie_anywhere(parse, write):
  path = write(
    'from configs.common import get_config as common\n'
    'def get_config():\n'
    '  config = common()\n'
    '  config.train.epochs = 7.0\n'
    '  return config\n'
  )
  assert parse(f'--config={path}', '--config.log_every=3')[0].train.epochs == 7.0


def test_modules_beside_the_configs_are_found_from_any_folder(
  parse, tmp_path, monkeypatch
):
  (tmp_path / 'settings').mkdir()
  (tmp_path / 'settings/shared_values.py').write_text('EPOCHS = 9.0')
  (tmp_path / 'settings/run.py').write_text(
    'from ml_collections import ConfigDict\n'
    'from settings.shared_values import EPOCHS\n'
    'def get_config():\n'
    '  return ConfigDict({"epochs": EPOCHS})\n'
  )
  monkeypatch.chdir('/')
  config, _ = parse(f'--config={tmp_path}/settings/run.py')
  assert config.epochs == 9.0


def test_an_error_where_native_code_calls_us_is_for_its_caller(caplog, capsys):
  error = RuntimeError('Event loop is closed')
  found = {'exc_type': type(error), 'exc_value': error, 'exc_traceback': None}
  cli._show_unraisable(types.SimpleNamespace(**found, err_msg=None, object=None))
  (record,) = caplog.records
  assert 'Event loop is closed' in caplog.text
  assert not cli._is_for_users(record)
  assert capsys.readouterr().err == ''


def test_an_error_that_names_its_place_is_shown(caplog, capsys, monkeypatch):
  class Defect:
    def __del__(self):
      raise RuntimeError('a defect')

  monkeypatch.setattr(sys, 'unraisablehook', cli._show_unraisable)
  Defect()
  shown = capsys.readouterr().err
  assert 'Defect.__del__' in shown
  assert shown.endswith('RuntimeError: a defect\n')
  assert not caplog.records


@pytest.mark.parametrize(
  ('word', 'words'),
  [
    ('--config.train.epoch=3', ['config.train has no field', 'Did you mean epochs?']),
    ('--config.trane.epochs=3', ["no field 'trane'", 'Did you mean train?']),
    ('--config.train.epochs.x=3', ['config.train.epochs is a value']),
    ('--noconfig.model.adapter', ["no field 'adapter'", 'Did you mean adapters?']),
    ('--config.pretrain.seed=3', ["no field 'pretrain'"]),
    ('--config.train.batch_size=many', ['batch_size=many', 'invalid literal']),
    ('--config.train.batch_size=1.5', ['batch_size=1.5']),
    ('--config.train.epochs=maybe', ['epochs=maybe', 'float']),
    ('--config.train=3', ['--config.train=3']),
    ('--confg=3', ["'confg'", 'Did you mean: config']),
    ('epochs=3', ['Expected only --flags', 'epochs=3']),
  ],
)
def test_a_word_that_does_not_fit_is_named(parse, word, words):
  message = message_of(parse, f'--config={RSITMD}', word)
  for expected in words:
    assert expected in message


def test_an_argument_that_the_config_does_not_know_is_named(parse):
  message = message_of(parse, f'--config={RSITMD}:large')
  assert "expected one of clip, georsclip, tiny; found 'large'" in message


def test_a_field_before_its_config_is_named(parse):
  message = message_of(parse, '--config.train.epochs=3', f'--config={RSITMD}')
  assert '--config.train.epochs=3' in message


@pytest.fixture
def flag():
  """`flag(value)`: of the name `page`."""

  def make(value):
    values = flags.FlagValues()
    found = flags.DEFINE_string('page', value, 'A page.', flag_values=values)
    values.mark_as_parsed()
    return found

  return make


@pytest.mark.parametrize('value', [None, ''])
def test_what_is_needed_is_asked_for(flag, value):
  assert cli.given(flag('a.html'), 'FILE') == 'a.html'
  with pytest.raises(UserError, match=r'^Expected --page=FILE; found none\.'):
    cli.given(flag(value), 'FILE')


def test_a_text_is_written_in_utf_8_where_a_flag_says(flag, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert cli.write_text(flag('~/a.html'), 'Häfen') == tmp_path / 'a.html'
  assert (tmp_path / 'a.html').read_bytes() == 'Häfen'.encode()
  with pytest.raises(UserError, match=r'--page=.*gone/a\.html: .* can be written; No'):
    cli.write_text(flag(str(tmp_path / 'gone/a.html')), '')
