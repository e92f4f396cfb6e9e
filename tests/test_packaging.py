"""What is installed: all code, the configs themselves, the program."""

import importlib.metadata
import pathlib
import subprocess
import sys

import pytest

import harma_jax.__main__

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = pathlib.Path('harma_jax')


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
  """The folder that an installation fills."""
  pytest.importorskip('setuptools')
  folder = tmp_path_factory.mktemp('built')
  words = ['build_py', '--build-lib', folder, 'egg_info', '--egg-base', folder]
  command = [sys.executable, 'setup.py', '-q', *words]
  subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
  return folder


def files_in(folder, *, below):
  return {
    file.relative_to(folder)
    for file in (folder / below).rglob('*')
    if file.is_file() and file.parent.name != '__pycache__'
  }


def test_every_file_of_the_package_and_each_config_is_installed(installed):
  code = files_in(REPOSITORY, below=PACKAGE)
  configs = {PACKAGE / file for file in files_in(REPOSITORY, below='configs')}
  assert PACKAGE / 'configs/common.py' in configs - code
  assert files_in(installed, below=PACKAGE) == code | configs


def test_configs_are_installed_as_files(installed):
  folder = installed / PACKAGE / 'configs'
  assert not folder.is_symlink()
  for file in folder.iterdir():
    assert not file.is_symlink()
    assert file.read_text() == (REPOSITORY / 'configs' / file.name).read_text()


def test_the_program_is_installed(installed):
  metadata = importlib.metadata.PathDistribution(installed / 'harma_jax.egg-info')
  (program,) = metadata.entry_points
  assert (program.group, program.name) == ('console_scripts', 'harma-jax')
  assert program.load() is harma_jax.__main__.main
