"""A bar where there is a terminal, nothing elsewhere; the items either way."""

import os
import pty
import subprocess
import sys

import pytest

from harma_jax.reporting.progress import show_progress

# A command whose native code does not return.
COMMAND = """
import hashlib, os, signal, threading
from harma_jax import cli
from harma_jax.devices import stop
from harma_jax.reporting.progress import show_progress
stop.GRACE = 0.5

def main(argv):
  threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
  for _ in show_progress([1, 2], title='items', total=2):
    hashlib.pbkdf2_hmac('sha256', b'', b'', 40_000_000)

cli.run(main, farewell=lambda: cli.Farewell('farewell'))
"""
SHOW_CURSOR = '\x1b[?25h'


@pytest.mark.parametrize('terminal', [True, False])
def test_items_pass_and_a_terminal_shows_how_many(capsys, monkeypatch, terminal):
  monkeypatch.setenv('FORCE_COLOR' if terminal else 'NO_COLOR', '1')
  monkeypatch.setenv('COLUMNS', '80')
  assert list(show_progress(iter('abc'), title='images', total=3)) == ['a', 'b', 'c']
  printed = capsys.readouterr()
  assert printed.out.strip() == ''
  assert ('images' in printed.err) == ('3/3' in printed.err) == terminal


def test_an_error_of_the_work_is_raised(capsys):
  def work():
    yield 1
    raise OSError('disk')

  with pytest.raises(OSError, match='disk'):
    list(show_progress(work(), title='images', total=2))


def test_an_interrupted_bar_leaves_a_terminal_as_it_found_it():
  ours, theirs = pty.openpty()
  with os.fdopen(ours, 'rb') as terminal:
    ended = subprocess.run(
      [sys.executable, '-c', COMMAND],
      stderr=theirs,
      env=os.environ | {'TERM': 'xterm-256color', 'COLUMNS': '80'},
      timeout=60,
    )
    os.close(theirs)
    said = os.read(terminal.fileno(), 10**5).decode()
  assert ended.returncode == 130
  assert said.endswith('farewell\r\n')
  bar, _, rest = said.rpartition(SHOW_CURSOR)
  assert 'items' in bar
  assert rest.strip() == 'farewell'
  assert bar.endswith('\r\n') or rest.startswith('\r\n')
