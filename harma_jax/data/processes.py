"""Processes that this one starts: which signals they hear, and when they end."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker


@contextlib.contextmanager
def held_signals() -> Iterator[None]:
  """Lets no Ctrl-C or SIGTERM through to this thread, nor ever to what it starts.

  A worker leaves them to the training process, which stops it when it has saved. To
  ignore them once it runs would be too late: it imports for seconds.
  """
  resource_tracker.ensure_running()  # in whose start multiprocessing releases them
  before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def held_interrupts() -> Iterator[None]:
  """Lets no Ctrl-C through to what is started meanwhile: its parent ends it."""
  resource_tracker.ensure_running()  # in whose start multiprocessing releases it
  before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ends_with_parent() -> None:
  """Makes this process end when the one that started it does, however that ends."""
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  multiprocessing.parent_process().join()
  os._exit(1)
