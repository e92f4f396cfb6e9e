"""Command lines: what flags give, and one message for each of a user's mistakes."""

import pathlib
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from harma_jax import cli
from harma_jax.building.config_file import shipped
from harma_jax.cli import parse as parse_module
from harma_jax.errors import UserError
from harma_jax.rundir.workdir import default_workdir

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
RSITMD = 'configs/rsitmd.py'


@pytest.fixture
def parse(monkeypatch):
  """`parse(*words)`: the config and the path that a command line gives."""

  def run(*words, folder=REPOSITORY):
    monkeypatch.chdir(folder)
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


@pytest.mark.parametrize(
  'words', [['--config=rsitmd.py:tiny'], ['-config', 'rsitmd.py:tiny']]
)
def test_a_shipped_config_is_found_by_its_name(parse, words, tmp_path):
  words = [*words, '--config.log_every=3']
  config, path = parse(*words, folder=tmp_path)
  assert path == f'{shipped("rsitmd.py")}:tiny'
  assert config.log_every == 3
  assert str(default_workdir(path)) == 'workdir/rsitmd-tiny'


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


@pytest.mark.parametrize(
  ('word', 'rounding'), [('auto:100', 'nearest'), ('100', 'none')]
)
def test_a_batch_may_be_the_nearest_that_divides(parse, word, rounding):
  config, _ = parse(f'--config={RSITMD}', f'--config.train.batch_size={word}')
  assert (config.train.batch_size, config.train.batch_rounding) == (100, rounding)
  config, _ = parse(f'--config={RSITMD}')
  assert (config.train.batch_size, config.train.batch_rounding) == (428, 'nearest')


@pytest.mark.parametrize('words', [[], ['--config='], ['--config']])
def test_a_config_must_be_given(parse, words):
  message = message_of(parse, *words)
  assert '--config' in message
  assert 'found none' in message or 'Missing value' in message
  assert words == ['--config'] or 'quickstart.py, rs5m.py, rsicd.py' in message


@pytest.mark.parametrize('more', [[], ['--config.train.epochs=3']])
def test_a_config_that_is_not_there_is_named(parse, more):
  message = message_of(parse, '--config=configs/none.py', *more)
  assert message.startswith('--config=configs/none.py: expected a file')
  assert str(REPOSITORY) in message


@pytest.mark.parametrize(
  'words',
  [
    ['--config.data.root=gs://bucket/data'],
    ['--config.init', 's3://bucket/weights'],
    ['--workdir=https://example.org/run'],
    ['gs://bucket/run'],
    ['--images=a,az://bucket/b'],
  ],
)
def test_what_is_no_path_is_told_at_once_in_any_flag(parse, words):
  message = message_of(parse, f'--config={RSITMD}', *words)
  assert 'expected a path of the file system; found ' in message
  assert '://' in message


@pytest.mark.parametrize(
  'words', [['--source=hf://datasets/a/b'], ['--source', 'hf://datasets/a/b']]
)
def test_a_data_set_of_the_hub_may_be_a_source(words):
  parse_module._check_local(['data', *words])


@pytest.mark.parametrize('word', ['--source=gs://a', '--out=hf://datasets/a/b'])
def test_no_other_address_may_be_one(word):
  with pytest.raises(UserError, match='expected a path of the file system'):
    parse_module._check_local(['data', word])


def test_what_is_no_path_is_told_in_a_config_file(parse, write):
  path = write(
    'from harma_jax.configs.common import get_config as common\n'
    'def get_config():\n'
    '  config = common()\n'
    "  config.data.root = 'gs://bucket/data'\n"
    '  return config\n'
  )
  message = message_of(parse, f'--config={path}')
  assert message.startswith('config.data.root: expected a path of the file system')


def test_home_is_expanded_in_flags_but_a_config_stays_as_it_is(
  parse, monkeypatch, tmp_path
):
  monkeypatch.setenv('HOME', str(tmp_path))
  (tmp_path / 'mine.py').write_text(
    'from harma_jax.configs.common import get_config as get_config\n'
  )
  config, path = parse('--config=~/mine.py', '--config.init=~/weights')
  assert path == str(tmp_path / 'mine.py')
  assert config.init == '~/weights'  # what was given is recorded


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
  assert 'expected one of clip, georsclip, siglip2, ' in message
  assert "tiny-siglip; found 'large'" in message


def test_a_field_before_its_config_is_named(parse):
  message = message_of(parse, '--config.train.epochs=3', f'--config={RSITMD}')
  assert '--config.train.epochs=3' in message


def test_a_command_without_a_config_takes_none(monkeypatch):
  monkeypatch.setattr(flags, 'FLAGS', flags.FlagValues())
  with pytest.raises(UserError, match="Unknown command line flag 'config'"):
    cli.parse_flags(['evaluate', '--config=none.py'])


@pytest.mark.parametrize('word', ['--help', '-h', '-?'])
def test_help_is_printed_whatever_else_is_said(parse, capsys, word):
  with pytest.raises(SystemExit) as end:
    parse('--config=none.py', '--no_such_flag', word)
  assert end.value.code == 0
  assert capsys.readouterr().out
