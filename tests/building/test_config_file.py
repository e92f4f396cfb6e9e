"""Configs are found by name or by path, and read from wherever a program is started."""

import pathlib
import sys

import pytest

from harma_jax.building.config_file import (
  PACKAGE,
  find_config,
  load_config,
  shipped,
  shipped_names,
)
from harma_jax.errors import UserError

OWN = (
  'from harma_jax.configs.common import get_config as common\n'
  'def get_config(epochs="7"):\n'
  '  config = common()\n'
  '  config.train.epochs = float(epochs)\n'
  '  return config\n'
)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
  """An empty folder to start from."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', sys.path.copy())
  return tmp_path


def test_the_configs_that_users_are_told_of_come_with_the_package():
  names = shipped_names()
  of_data = ['rs5m.py', 'rsicd.py', 'rsitmd.py', 'skyscript.py']
  assert names == ['common.py', 'methods.py', 'quickstart.py', *of_data]
  assert all(shipped(name).is_file() for name in names)


def test_there_is_one_source_of_the_configs():
  at_the_top = PACKAGE.parent / 'configs'
  if not at_the_top.is_dir():
    pytest.skip('not a checkout')
  assert shipped('common.py').samefile(at_the_top / 'common.py')


@pytest.mark.parametrize('config', ['rsitmd.py', 'rsitmd.py:tiny', 'methods.py:lora:a'])
def test_a_shipped_config_is_found_by_its_name(elsewhere, config):
  name, colon, argument = config.partition(':')
  assert find_config(config) == f'{shipped(name)}{colon}{argument}'


def test_a_users_own_file_comes_before_a_shipped_one(elsewhere):
  (elsewhere / 'rsitmd.py').write_text(OWN)
  assert find_config('rsitmd.py:5') == 'rsitmd.py:5'
  assert load_config('rsitmd.py:5').train.epochs == 5.0
  assert load_config(f'{elsewhere}/rsitmd.py').train.epochs == 7.0


@pytest.mark.parametrize(
  ('config', 'words'),
  [
    ('quikstart.py', 'Did you mean quickstart.py?'),
    ('rsitmd', 'Did you mean rsitmd.py?'),
    ('rstmd:clip', 'Did you mean rsitmd.py?'),
    ('configs/rsitmd.py', 'Did you mean rsitmd.py?'),
    ('backbones.py', 'found none of this name'),
    ('configs', 'found none of this name'),
    ('/no/mine.py', 'found none of this name'),
  ],
)
def test_a_config_that_is_not_there_is_named_with_those_that_are(
  elsewhere, config, words
):
  with pytest.raises(UserError) as error:
    find_config(config)
  message = str(error.value)
  assert message.startswith(f'--config={config}: expected a file')
  for word in (*shipped_names(), str(elsewhere), words):
    assert word in message


def test_a_shipped_config_makes_no_module_of_ours_a_top_level_one(elsewhere):
  load_config('quickstart.py')
  assert str(PACKAGE) not in sys.path


def test_modules_beside_a_users_file_are_found_from_any_folder(elsewhere, monkeypatch):
  folder = elsewhere / 'settings'
  folder.mkdir()
  (folder / 'shared_values.py').write_text('EPOCHS = 9.0')
  (folder / 'run.py').write_text(
    'from ml_collections import ConfigDict\n'
    'from settings.shared_values import EPOCHS\n'
    'def get_config():\n'
    '  return ConfigDict({"epochs": EPOCHS})\n'
  )
  monkeypatch.chdir('/')
  before = len(sys.path)
  for _ in range(2):
    assert load_config(f'{folder}/run.py').epochs == 9.0
  assert len(sys.path) == before + 1


def test_a_shipped_config_is_read_from_any_folder(elsewhere):
  config = load_config('methods.py:lora:rsitmd:clip')
  assert (config.model.adapters, config.train.epochs) == ('lora', 50.0)


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('x = 1\nimport no_such_module', 'line 2 fails with ModuleNotFoundError'),
    ('x = 1', 'fails with KeyError'),
    ('def get_config():\n  return 1 + "a"', 'line 2 fails with TypeError'),
  ],
)
def test_a_file_that_fails_is_named_with_its_line(elsewhere, text, words):
  pathlib.Path('mine.py').write_text(text)
  with pytest.raises(UserError, match=rf'^--config=mine\.py: .* {words}'):
    load_config('mine.py')
