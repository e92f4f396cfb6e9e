"""Requests to stop reach who waits for them, and end who does not look."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from harma_jax.devices.stop import Interrupted, StopRequest

# A command in small. `compute` stands for native code: no line of Python until it ends.
COMMAND = """
import hashlib, os, signal, sys, threading, time
from harma_jax import cli
from harma_jax.devices import stop
stop.GRACE = 1.0

def ask(number=signal.SIGINT):
  os.kill(os.getpid(), number)

def compute():
  hashlib.pbkdf2_hmac('sha256', b'', b'', 40_000_000)

def main(argv):
{act}

cli.run(main, farewell=lambda: cli.Farewell('farewell', terminated={terminated}))
"""


def run(act, *, terminated=143):
  """Exit code, standard output, standard error and seconds of such a command."""
  lines = '\n'.join(f'  {line}' for line in act.strip().splitlines())
  begin = time.monotonic()
  ended = subprocess.run(
    [sys.executable, '-c', COMMAND.format(act=lines, terminated=terminated)],
    capture_output=True,
    text=True,
    timeout=60,
  )
  return ended.returncode, ended.stdout, ended.stderr, time.monotonic() - begin


@pytest.mark.parametrize(
  ('number', 'terminated', 'code'),
  [('SIGINT', 143, 130), ('SIGTERM', 143, 143), ('SIGTERM', 0, 0)],
)
def test_a_signal_ends_a_command_with_one_line(number, terminated, code):
  act = f'try:\n  ask(signal.{number})\n  time.sleep(9)\nfinally:\n  print("put away")'
  found = run(act, terminated=terminated)
  assert found[:3] == (code, 'put away\n', 'farewell\n')


# After a signal that must wait: is it obeyed before the process is ended?
THEN_WAIT = """
begin = time.monotonic()
{act}
try:
  time.sleep(9)
finally:
  print(time.monotonic() - begin < stop.GRACE)
"""


def test_a_signal_within_an_import_waits_for_its_end(tmp_path):
  (tmp_path / 'slow.py').write_text(
    'import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint("imported")'
  )
  act = f'sys.path.insert(0, {str(tmp_path)!r})\nimport slow'
  found = run(THEN_WAIT.format(act=act))
  assert found[:3] == (130, 'imported\nTrue\n', 'farewell\n')


def test_a_command_that_has_little_left_after_an_import_does_not_do_it(tmp_path):
  (tmp_path / 'slow.py').write_text('import os, signal\nos.kill(os.getpid(), 2)')
  act = f'sys.path.insert(0, {str(tmp_path)!r})\nimport slow\ntime.sleep(0.04)'
  assert run(f'{act}\nprint("too late")')[:3] == (130, '', 'farewell\n')


def test_a_command_that_swallows_an_interruption_ends_as_one_that_obeys():
  act = 'try:\n  ask()\n  time.sleep(9)\nexcept BaseException:\n  print("swallowed")'
  assert run(act)[:3] == (130, 'swallowed\n', 'farewell\n')


def test_a_signal_within_a_finalizer_is_not_lost():
  act = """
class Gone:
  def __del__(self):
    ask()
    print('gone')

Gone()
"""
  assert run(THEN_WAIT.format(act=act))[:3] == (130, 'True\n', 'farewell\n')


def test_what_tensorstore_tells_a_loop_that_is_closed_is_not_printed():
  act = """
import asyncio
import tensorstore

promise, future = tensorstore.Promise.new()
loop = asyncio.new_event_loop()

async def wait():
  await future

async def start():
  start.task = asyncio.ensure_future(wait())
  await asyncio.sleep(0)

loop.run_until_complete(start())
loop.close()
thread = threading.Thread(target=promise.set_result, args=[1])
thread.start()
thread.join()
print('told', flush=True)
os._exit(0)
"""
  assert run(act)[:3] == (0, 'told\n', '')


def test_an_interruption_that_a_library_swallows_ends_the_command_all_the_same():
  act = """
try:
  ask()
  time.sleep(9)
except KeyboardInterrupt:
  print('swallowed', flush=True)
time.sleep(9)
print('too late')
"""
  code, printed, said, seconds = run(act)
  assert (code, printed, said) == (130, 'swallowed\n', 'farewell\n')
  assert seconds < 8


def test_an_error_that_a_library_makes_of_an_interruption_is_one():
  act = """
try:
  ask()
  time.sleep(9)
except KeyboardInterrupt:
  raise RuntimeError('of a callback')
"""
  assert run(act)[:3] == (130, '', 'farewell\n')


def test_native_code_that_does_not_return_is_left_and_things_are_put_away():
  act = """
with stop.put_away(lambda: print('put away', flush=True)):
  threading.Timer(0.2, ask).start()
  compute()
  print('too late')
"""
  code, printed, said, seconds = run(act)
  assert (code, printed, said) == (130, 'put away\n', 'farewell\n')
  assert seconds < 8


def test_a_second_ctrl_c_ends_at_once_also_what_holds_the_first_back():
  act = """
with stop.StopRequest():
  threading.Timer(0.2, ask).start()
  threading.Timer(0.4, ask).start()
  compute()
  print('too late')
"""
  code, printed, said, seconds = run(act)
  first, last = said.splitlines()
  assert (code, printed, last) == (130, '', 'farewell')
  assert first == 'SIGINT: saving and stopping; a second Ctrl-C ends at once'
  assert seconds < 8


def test_what_holds_a_request_back_takes_its_time_and_so_does_its_end():
  act = """
try:
  with stop.StopRequest() as request:
    ask(signal.SIGTERM)
    time.sleep(2)
    raise stop.Stopped(request.signal)
finally:
  time.sleep(2)
  print('saved')
"""
  code, printed, said, _ = run(act, terminated=0)
  assert (code, printed) == (0, 'saved\n')
  assert said.splitlines()[1:] == ['farewell']


def test_a_request_that_came_too_late_for_one_stage_is_known_to_the_next():
  act = """
with stop.StopRequest():
  ask()
with stop.StopRequest() as request:
  print(request.signal == signal.SIGINT)
  raise stop.Stopped(request.signal)
"""
  assert run(act)[:2] == (130, 'True\n')


def test_a_command_that_has_ended_is_not_stopped_any_more():
  act = 'import atexit\natexit.register(ask)\nprint("done")'
  assert run(act)[:3] == (0, 'done\n', '')


def test_without_a_command_a_request_notes_the_first_and_raises_the_second():
  before = signal.getsignal(signal.SIGINT)
  with StopRequest() as request:
    assert request.signal is None
    signal.raise_signal(signal.SIGINT)
    assert request.signal == signal.SIGINT
    with pytest.raises(Interrupted):
      signal.raise_signal(signal.SIGINT)
  assert signal.getsignal(signal.SIGINT) is before
  with StopRequest() as request:
    assert request.signal is None


def test_an_act_is_waited_for_unless_a_stop_is_asked_for():
  go_on = threading.Event()
  with StopRequest() as request:
    assert request.unless_asked(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
      request.unless_asked(lambda: 1 / 0)
    threading.Timer(0.1, signal.raise_signal, [signal.SIGTERM]).start()
    assert request.unless_asked(go_on.wait) is None
  go_on.set()
