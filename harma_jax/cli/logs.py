"""Which lines of the log a user sees, and where they go."""

import io
import logging as standard_logging
import pathlib
import sys

from absl import logging

import harma_jax

PACKAGE = pathlib.Path(harma_jax.__file__).parent
NATIVE = 'harma_jax.native'  # logs what is raised where native code calls Python


def show_ours() -> None:
  """Shows our lines and all warnings on standard error, without dates and places."""
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  logging.get_absl_handler().setFormatter(None)
  logging.get_absl_handler().addFilter(is_for_users)
  logging.get_absl_handler().python_handler.stream = _StandardError()
  sys.unraisablehook = show_unraisable


def is_for_users(record: standard_logging.LogRecord) -> bool:
  """Whether a line is ours or a warning: what libraries do is not a user's concern.

  A traceback of native code is of an error that its caller gets to see.
  """
  ours = pathlib.Path(record.pathname).is_relative_to(PACKAGE)
  warns = record.levelno >= standard_logging.WARNING and not record.exc_info
  return (ours and record.name != NATIVE) or warns


def show_unraisable(found) -> None:
  """As Python does, but for an interrupt, and for what native code does not name.

  An interrupt may come within a library's callback; who must not lose it asks again
  (`interruptible`). When one write fails, TensorStore tells of the others to an event
  loop that is closed.
  """
  if issubclass(found.exc_type, KeyboardInterrupt):
    return
  if found.object is not None or found.err_msg is not None:
    sys.__unraisablehook__(found)
    return
  standard_logging.getLogger(NATIVE).error(
    'an error in native code of a library',
    exc_info=(found.exc_type, found.exc_value, found.exc_traceback),
  )


class _StandardError(io.TextIOBase):
  """Standard error as it is when a line comes: a progress bar puts itself before it."""

  def write(self, text: str) -> int:
    return sys.stderr.write(text)

  def flush(self) -> None:
    sys.stderr.flush()
