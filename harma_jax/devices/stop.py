"""Stopping when the user (Ctrl-C) or the platform (SIGTERM) asks.

A signal that interrupts any line may be lost in a library's callback, or leave a
checkpoint half written; one that is looked at between steps is neither.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import jax
from absl import logging

from harma_jax.devices.processes import maximum

AGREE_EVERY = 10  # steps: several processes wait for their devices to agree

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
  """The run has saved and ends because `signal` asked for it."""

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    self.signal = number


class StopRequest:
  """Notes the first signal instead of dying of it; a second Ctrl-C ends at once.

  Attributes:
    signal: the number of the signal that came, or None.
  """

  def __init__(self):
    self.signal = None

  def __enter__(self) -> 'StopRequest':
    self._before = _set_handlers(dict.fromkeys(SIGNALS, self._note))
    return self

  def __exit__(self, *_) -> None:
    _set_handlers(self._before)

  def _note(self, number: int, _: FrameType | None) -> None:
    if self.signal is not None and number == signal.SIGINT:
      raise KeyboardInterrupt
    self.signal = number
    logging.warning('%s: saving and stopping', signal.Signals(number).name)


@contextlib.contextmanager
def interruptible(message: str) -> Iterator[Callable[[], None]]:
  """Ctrl-C and SIGTERM raise KeyboardInterrupt(message) at once.

  Yields:
    What raises it again where it was lost: to be called between two acts.
  """
  asked = threading.Event()

  def note(number, frame):
    asked.set()
    raise KeyboardInterrupt(message)

  def check():
    if asked.is_set():
      raise KeyboardInterrupt(message)

  before = _set_handlers(dict.fromkeys(SIGNALS, note))
  try:
    yield check
  finally:
    _set_handlers(before)


def _set_handlers(handlers: dict) -> dict:
  """Sets handlers by signal; returns those before, none off the main thread."""
  if threading.current_thread() is not threading.main_thread():
    return {}  # where Python lets nobody set them
  return {number: signal.signal(number, of) for number, of in handlers.items()}


def agreed(number: int | None, *, step: int, before: int) -> int | None:
  """The signal for which all processes stop before step number `step`.

  Args:
    number: of the signal that came to this process, or None.
    step: the same in all processes, each of which asks wherever the others do.
    before: at which step it asked last.
  """
  if jax.process_count() == 1:
    return number
  if step // AGREE_EVERY == before // AGREE_EVERY:
    return None
  return maximum(number or 0) or None
