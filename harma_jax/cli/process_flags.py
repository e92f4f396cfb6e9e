"""The flags by which the processes of one run meet."""

import os

from absl import flags

START_TIMEOUT = 300  # seconds until all processes must have met
LOSS_TIMEOUT = 45  # seconds; a dead process ends the others within a minute

_COORDINATOR = flags.DEFINE_string(
  'coordinator', None, 'HOST:PORT of the first of several processes.'
)
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', None, 'Of the run.')
_PROCESS_ID = flags.DEFINE_integer('process_id', None, 'This one, counted from 0.')
_START_TIMEOUT = flags.DEFINE_integer(
  'start_timeout', START_TIMEOUT, 'Seconds until all processes have met.'
)
_LOSS_TIMEOUT = flags.DEFINE_integer(
  'loss_timeout', LOSS_TIMEOUT, 'Seconds of silence that end a run.'
)


def join_others() -> None:
  """Meets the other processes, where there are any."""
  from harma_jax.devices import processes

  given = (_COORDINATOR, _NUM_PROCESSES, _PROCESS_ID)
  start = processes.decide({flag.name: flag.value for flag in given}, os.environ)
  if start:
    processes.initialize(
      start, timeout=_START_TIMEOUT.value, loss_timeout=_LOSS_TIMEOUT.value
    )
