"""A thread that talks to a tracker, so that none can slow or end a run."""

import queue
import threading
from collections.abc import Callable

from absl import logging

from harma_jax.tracking.tracker import Tracker


class Worker:
  """Calls a tracker, one call after the other, in a thread of its own.

  The first error of the tracker is a warning, and nothing is sent after it. The thread
  ends with the process.
  """

  def __init__(self, name: str, start: Callable[[], Tracker]):
    self.name, self._start, self._calls = name, start, queue.SimpleQueue()
    self._failed = False
    self._thread = threading.Thread(target=self._work, name=name, daemon=True)
    self._thread.start()

  def call(self, act: Callable[[Tracker], None]) -> None:
    """Calls `act(tracker)` soon."""
    if not self._failed:
      self._calls.put(act)

  def close(self, *, seconds: float) -> None:
    """Waits until all is sent, for so long; a warning says what did not get there."""
    self._calls.put(None)
    self._thread.join(seconds)
    if self._thread.is_alive():
      logging.warning(
        '--tracker=%s did not take all within %.0f s; metrics.jsonl has it',
        *(self.name, seconds),
      )

  def _work(self) -> None:
    try:
      tracker = self._start()
      for act in iter(self._calls.get, None):
        act(tracker)
      tracker.close()
    except (Exception, SystemExit) as error:  # whatever a library or its server does
      self._failed = True
      logging.warning(
        '--tracker=%s failed, and gets no more of this run: %s: %s. The run goes on; '
        'metrics.jsonl has it all.',
        *(self.name, type(error).__name__, error),
      )
