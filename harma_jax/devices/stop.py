"""Stopping when the user (Ctrl-C) or the platform (SIGTERM) asks, at any moment.

Python tells of a signal between two lines, so not while a library compiles or computes,
and an exception that comes within a library's callback is lost. A command therefore
listens with a thread beside it (`listening`): the exception comes where Python can
raise it, but not within an import, whose native code may not bear one, and `GRACE`
seconds after the first request, or at once after a second Ctrl-C, the process ends
wherever it is. What must end well, the steps of a run, holds requests
back and looks for them itself (`StopRequest`).
"""

import concurrent.futures
import contextlib
import math
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from absl import logging

GRACE = 5.0  # seconds that what was interrupted has to put its things away

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_LOOK_EVERY = 0.05  # seconds
_REPEAT_AFTER = 0.005  # seconds; a short command is imports, and then soon over


class Stopped(Exception):
  """The run has saved and ends because `signal` asked for it."""

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    self.signal = number


class Interrupted(KeyboardInterrupt):
  """The command ends where it is because `signal` asked for it."""

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    self.signal = number


class _Asked:
  """What the process knows of requests: one for all commands and runs in it.

  Attributes:
    signal: the first that came, or None.
    is_obeyed: whether what stopped for it has ended well, and the process will.
    is_heard: whether `listening` is.
    holders: how many hold signals back.
    put_away: what is to be done before the process ends in the middle of something.
    repeated: how many signals are on their way that the process sent itself.
  """

  def __init__(self):
    self.signal = None
    self.is_obeyed = self.is_heard = False
    self.holders = 0
    self.put_away = []
    self.repeated = 0
    self._lock = threading.Lock()

  def note(self, number: int) -> None:
    """Notes a signal; says so at the first that is held back."""
    with self._lock:
      is_first, self.signal = self.signal is None, self.signal or number
    if is_first and self.holders:
      logging.warning(
        '%s: saving and stopping; a second Ctrl-C ends at once',
        signal.Signals(number).name,
      )

  def repeat(self, number: int) -> None:
    """Has a signal come again, a little later, that came where it cannot be obeyed."""
    self.repeated += 1
    main = threading.main_thread().ident
    timer = threading.Timer(_REPEAT_AFTER, signal.pthread_kill, [main, number])
    timer.daemon = True
    timer.start()


_ASKED = _Asked()


@contextlib.contextmanager
def listening(leave: Callable[[int], NoReturn]) -> Iterator[None]:
  """Ends what is within when a signal asks for it; for the main thread of a command.

  Raises `Interrupted` there, or only notes the signal while a `StopRequest` holds. When
  it is over signals are ignored: the process is about to end, and well.

  Args:
    leave: ends the process with a signal's exit code; called in another thread.
  """
  ours, theirs = socket.socketpair()
  ours.setblocking(False)
  signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
  _set_handlers(dict.fromkeys(SIGNALS, _Handler()))
  sys.unraisablehook = _hear_the_unraisable
  threading.Thread(target=_watch, args=(theirs, leave), daemon=True).start()
  _ASKED.is_heard = True
  try:
    yield
  finally:
    _set_handlers(dict.fromkeys(SIGNALS, signal.SIG_IGN))
    signal.set_wakeup_fd(-1)
    sys.unraisablehook = sys.__unraisablehook__
    ours.close()  # which ends the thread
    _ASKED.is_heard = False


def asked() -> int | None:
  """The signal that asked this process to stop, or None."""
  return _ASKED.signal


@contextlib.contextmanager
def put_away(act: Callable[[], object]) -> Iterator[None]:
  """Does `act` at the end, and also where the process ends in the middle."""
  _ASKED.put_away.append(act)
  try:
    yield
  finally:
    _ASKED.put_away.remove(act)
    act()


class StopRequest:
  """Notes the first signal instead of dying of it; a second Ctrl-C ends at once.

  Where a command listens, a signal that an earlier request of it was too late for is
  known from the start.
  """

  @property
  def signal(self) -> int | None:
    """The number of the signal that came, or None."""
    return _ASKED.signal

  def __enter__(self) -> 'StopRequest':
    _ASKED.holders += 1
    self._before = _set_handlers(dict.fromkeys(SIGNALS, _Handler()))
    return self

  def __exit__(self, _, error: BaseException | None, __) -> None:
    _set_handlers(self._before)
    _ASKED.is_obeyed = isinstance(error, Stopped)
    _ASKED.holders -= 1
    if not _ASKED.is_heard:
      _ASKED.signal = None

  def unless_asked(self, act: Callable):
    """`act()`, done beside the main thread; None where a signal comes before its end.

    For native code of many seconds that changes nothing: a compilation, an evaluation.
    It goes on until the process ends.
    """
    if self.signal is not None:
      return None
    future = concurrent.futures.Future()
    threading.Thread(target=_fulfil, args=(future, act), daemon=True).start()
    while not future.done():
      if self.signal is not None:
        return None
      concurrent.futures.wait([future], timeout=_LOOK_EVERY)
    return future.result()


def _fulfil(future: concurrent.futures.Future, act: Callable) -> None:
  try:
    future.set_result(act())
  except BaseException as error:
    future.set_exception(error)  # raised where the result is asked for


class _Handler:
  """What Python calls in the main thread, between two lines, when a signal came."""

  def __init__(self):
    self._count = 0

  def __call__(self, number: int, frame: FrameType | None) -> None:
    _ASKED.note(number)
    if _is_importing(frame) and not _ASKED.holders:
      _ASKED.repeat(number)
      return
    self._count += 1
    if not _ASKED.holders or (self._count > 1 and number == signal.SIGINT):
      raise Interrupted(number)


def _is_importing(frame: FrameType | None) -> bool:
  while frame and frame.f_code.co_filename != '<frozen importlib._bootstrap>':
    frame = frame.f_back
  return frame is not None


def _hear_the_unraisable(lost: 'sys.UnraisableHookArgs') -> None:
  """An interruption that came in a finalizer, which raises nothing, comes again.

  tensorstore tells of the parts of a save that failed after orbax has given it up.
  """
  error = lost.exc_value
  if isinstance(error, Interrupted):
    _ASKED.repeat(error.signal)
  elif isinstance(error, RuntimeError) and str(error) == 'Event loop is closed':
    logging.debug('told after the end: %s', error)
  else:
    sys.__unraisablehook__(lost)


def _watch(wakes: socket.socket, leave: Callable[[int], NoReturn]) -> None:
  """Ends the process where the main thread does not, or is asked for it twice."""
  count, deadline = 0, math.inf
  while (numbers := _read(wakes)) is not None:
    for number in numbers:
      _ASKED.note(number)
      if _ASKED.repeated:
        _ASKED.repeated -= 1
        continue
      count += 1
      if count > 1 and number == signal.SIGINT:
        _leave(leave, number)
    if _ASKED.signal is None or _ASKED.holders or _ASKED.is_obeyed:
      deadline = math.inf
    elif deadline == math.inf:
      deadline = time.monotonic() + GRACE
    elif time.monotonic() > deadline:
      _leave(leave, _ASKED.signal)


def _read(wakes: socket.socket) -> list[int] | None:
  """The signals that came, none where time has passed; None where all is over."""
  wakes.settimeout(None if _ASKED.signal is None else _LOOK_EVERY)
  try:
    content = wakes.recv(64)
  except TimeoutError:
    return []
  return [number for number in content if number in SIGNALS] if content else None


def _leave(leave: Callable[[int], NoReturn], number: int) -> None:
  for act in _ASKED.put_away:
    with contextlib.suppress(OSError):  # what is left lies on the disk for all to see
      act()
  leave(number)


def _set_handlers(handlers: dict) -> dict:
  """Sets handlers by signal; returns those before, none off the main thread."""
  if threading.current_thread() is not threading.main_thread():
    return {}  # where Python lets nobody set them
  return {number: signal.signal(number, of) for number, of in handlers.items()}
