"""The thread that talks to a tracker: order, errors, silence."""

import threading

from harma_jax.tracking.worker import Worker


class Noted:
  """A tracker that notes what it is told."""

  def __init__(self):
    self.heard, self.closed = [], False

  def close(self):
    self.closed = True


def hear(value):
  return lambda tracker: tracker.heard.append(value)


def test_calls_come_in_order_and_the_run_is_closed():
  tracker = Noted()
  worker = Worker('wandb', lambda: tracker)
  for value in range(100):
    worker.call(hear(value))
  worker.close(seconds=10)
  assert tracker.heard == list(range(100))
  assert tracker.closed


def test_the_first_error_is_one_warning_and_the_last_call(caplog):
  tracker, failed = Noted(), threading.Event()

  def fail(_):
    failed.set()
    raise ConnectionError('no route to host')

  worker = Worker('mlflow', lambda: tracker)
  worker.call(hear(1))
  worker.call(fail)
  failed.wait(10)
  for value in range(2, 5):
    worker.call(hear(value))
  worker.close(seconds=10)
  assert tracker.heard == [1]
  warned = [record.getMessage() for record in caplog.records]
  assert warned == [
    '--tracker=mlflow failed, and gets no more of this run: ConnectionError: no route '
    'to host. The run goes on; metrics.jsonl has it all.'
  ]


def test_one_that_cannot_start_is_a_warning(caplog):
  def start():
    raise SystemExit('not logged in')

  Worker('wandb', start).close(seconds=10)
  assert 'SystemExit: not logged in' in caplog.text


def test_one_that_hangs_is_left_behind(caplog):
  release = threading.Event()
  worker = Worker('trackio', Noted)
  worker.call(lambda _: release.wait(30))
  worker.close(seconds=0.05)
  release.set()
  assert '--tracker=trackio did not take all within 0 s' in caplog.text
