"""The folder of compiled programs: private, or not used."""

import logging
import os
import subprocess
import sys

import jax
import pytest

from harma_jax.devices.compilation import SHORTEST, VARIABLE, keep_compiled

PROGRAM = """
import pathlib, sys
import jax, jax.numpy as jnp
from harma_jax.devices.compilation import keep_compiled
keep_compiled(pathlib.Path(sys.argv[1]))
print(jax.jit(lambda x: jnp.sin(x) * 3)(1.0))
"""


@pytest.fixture(autouse=True)
def _unchanged(monkeypatch):
  monkeypatch.delenv(VARIABLE, raising=False)
  monkeypatch.delenv(SHORTEST, raising=False)
  names = ('jax_compilation_cache_dir', SHORTEST.lower())
  before = {name: getattr(jax.config, name) for name in names}
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  for name in (VARIABLE, SHORTEST):
    os.environ.pop(name, None)


def test_a_second_process_finds_what_the_first_compiled(tmp_path):
  folder = tmp_path / 'new/compiled'
  outputs, kept = [], []
  for _ in range(2):
    command = [sys.executable, '-c', PROGRAM, str(folder)]
    environment = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
    environment[SHORTEST] = '0'
    outputs.append(subprocess.check_output(command, env=environment))
    kept.append(sorted(path.name for path in folder.glob('*-cache')))
  assert outputs[0] == outputs[1]
  assert kept[0] == kept[1] != []
  assert folder.stat().st_mode & 0o777 == 0o700


def test_what_takes_a_tenth_of_a_second_is_kept_unless_the_user_says_else(
  tmp_path, monkeypatch
):
  keep_compiled(tmp_path / 'kept')
  assert getattr(jax.config, SHORTEST.lower()) == 0.1
  jax.config.update(SHORTEST.lower(), 5.0)
  monkeypatch.setenv(SHORTEST, '5')
  keep_compiled(tmp_path / 'kept')
  assert getattr(jax.config, SHORTEST.lower()) == 5.0


@pytest.mark.parametrize('mode', [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_is_not_used(tmp_path, caplog, mode):
  folder = tmp_path / 'open'
  folder.mkdir()
  folder.chmod(mode)
  with caplog.at_level(logging.WARNING):
    assert keep_compiled(folder) is None
  assert 'chmod 700' in caplog.text


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path, caplog):
  (tmp_path / 'file').write_text('')
  with caplog.at_level(logging.WARNING):
    assert keep_compiled(tmp_path / 'file/compiled') is None
  assert 'not kept' in caplog.text


@pytest.mark.parametrize('value', ['', '/elsewhere'])
def test_the_environment_comes_first(tmp_path, monkeypatch, value):
  monkeypatch.setenv(VARIABLE, value)
  assert keep_compiled(tmp_path / 'compiled') is None
  assert not (tmp_path / 'compiled').exists()
