"""Stopping between two steps when the user (Ctrl-C) or the platform (SIGTERM) asks."""

import signal
import threading
from types import FrameType

import jax
from absl import logging

from harma_jax.processes import maximum

AGREE_EVERY = 10  # steps: several processes wait for their devices to agree

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
  """The run has saved and ends because `signal` asked for it."""

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    self.signal = number


class StopRequest:
  """Notes the first signal instead of dying of it; a second Ctrl-C ends at once.

  A signal that interrupts any line may be lost in a library's callback, or leave a
  checkpoint half written; one that is looked at between steps is neither.

  Attributes:
    signal: the number of the signal that came, or None.
  """

  def __init__(self):
    self.signal = None

  def __enter__(self) -> 'StopRequest':
    # Python lets only the main thread set handlers.
    on_main = threading.current_thread() is threading.main_thread()
    self._before = (
      {number: signal.signal(number, self._note) for number in SIGNALS}
      if on_main
      else {}
    )
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _note(self, number: int, _: FrameType | None) -> None:
    if self.signal is not None and number == signal.SIGINT:
      raise KeyboardInterrupt
    self.signal = number
    logging.warning('%s: saving and stopping', signal.Signals(number).name)


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
