"""Of the log a user sees our lines and warnings."""

import logging
import pathlib
import sys
import types

import pytest

import harma_jax
from harma_jax.cli import logs

PACKAGE = pathlib.Path(harma_jax.__file__).parent


def record_of(path, level):
  return logging.LogRecord('absl', level, str(path), 1, 'text', (), None)


@pytest.mark.parametrize('file', ['main.py', 'cli/run.py', 'training/loop.py'])
def test_lines_of_every_room_are_shown(file):
  assert logs.is_for_users(record_of(PACKAGE / file, logging.INFO))


def test_of_libraries_only_warnings_are_shown():
  path = PACKAGE.parent / 'library/module.py'
  assert not logs.is_for_users(record_of(path, logging.INFO))
  assert logs.is_for_users(record_of(path, logging.WARNING))


def test_an_error_where_native_code_calls_us_is_for_its_caller(caplog, capsys):
  error = RuntimeError('Event loop is closed')
  found = {'exc_type': type(error), 'exc_value': error, 'exc_traceback': None}
  logs.show_unraisable(types.SimpleNamespace(**found, err_msg=None, object=None))
  (record,) = caplog.records
  assert 'Event loop is closed' in caplog.text
  assert not logs.is_for_users(record)
  assert capsys.readouterr().err == ''


def test_an_error_that_names_its_place_is_shown(caplog, capsys, monkeypatch):
  class Defect:
    def __del__(self):
      raise RuntimeError('a defect')

  monkeypatch.setattr(sys, 'unraisablehook', logs.show_unraisable)
  Defect()
  shown = capsys.readouterr().err
  assert 'Defect.__del__' in shown
  assert shown.endswith('RuntimeError: a defect\n')
  assert not caplog.records


def test_an_interrupt_that_comes_within_a_callback_shows_no_traceback(
  capsys, monkeypatch
):
  class Interrupted:
    def __del__(self):
      raise KeyboardInterrupt

  monkeypatch.setattr(sys, 'unraisablehook', logs.show_unraisable)
  Interrupted()
  assert capsys.readouterr().err == ''
