"""Runs a command: its mistakes are one message, and its exit code says how it ended."""

import gc
import importlib
import multiprocessing
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from absl import app

from harma_jax.cli.logs import show_ours
from harma_jax.cli.parse import parse_flags
from harma_jax.devices.compilation import keep_compiled
from harma_jax.devices.stop import Interrupted, Stopped, asked, listening
from harma_jax.errors import UserError

DEFECT, MISTAKE, INTERRUPTED, UNREAD, TERMINATED = 1, 2, 130, 141, 143

RESUMES = 'Interrupted. The same command resumes.'


class Farewell(NamedTuple):
  """What an interrupted command says last, and its exit code after SIGTERM.

  That is 0 where the platform may stop the command and start it again.
  """

  words: str = 'Interrupted.'
  terminated: int = TERMINATED


def resuming(word: str) -> Callable[[], Farewell]:
  """The farewell of a program whose command `word` goes on where it was stopped."""
  return lambda: Farewell(RESUMES) if word in sys.argv else Farewell()


def run(
  main: Callable[[Sequence[str]], int | None],
  *,
  farewell: Callable[[], Farewell] = Farewell,
  compiles: bool = False,
) -> None:
  """Parses the flags, runs `main(argv)` and exits with what it returns.

  What one that `compiles` compiles is kept for the next call, see `keep_compiled`; jax
  is there when `main` begins.

  A UserError is printed alone on standard error, with exit code 2. Ctrl-C and SIGTERM
  end the command as `devices/stop.py` says, with the line of `farewell`; so does any
  error that comes after them: a library may make another one of an interruption. Where
  what reads standard output has gone (`| head`) it ends without a word, as if by
  SIGPIPE.
  """

  def leave(number: int) -> NoReturn:
    words, terminated = farewell()
    print(words, file=sys.stderr)
    _leave(INTERRUPTED if number == signal.SIGINT else terminated)

  def flushed(argv: Sequence[str]) -> int | None:
    if compiles:
      keep_compiled()
      _import_jax()
    code = main(argv)
    sys.stdout.flush()
    if asked():  # a library kept the interruption to itself
      leave(asked())
    return code

  show_ours()
  try:
    with listening(leave):
      app.run(flushed, flags_parser=parse_flags)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    _leave_soon(MISTAKE)
    sys.exit(MISTAKE)
  except (Interrupted, Stopped) as stopped:
    leave(stopped.signal)
  except KeyboardInterrupt:
    leave(signal.SIGINT)
  except (Exception, SystemExit) as error:
    if _is_unread(error):
      _leave(UNREAD)
    if isinstance(error, SystemExit):
      raise
    if asked():
      leave(asked())
    _leave_soon(DEFECT)
    raise


def _import_jax() -> None:
  """Imports jax, whose objects the garbage collector then leaves alone for good.

  They are so many that going through them is a good part of a short command.
  """
  gc.disable()
  importlib.import_module('jax')
  gc.freeze()
  gc.enable()


def _is_unread(error: BaseException) -> bool:
  """Whether nothing reads standard output any more; what is left for it is dropped.

  rich makes an exit of it, and leads the output elsewhere, itself.
  """
  if isinstance(error, SystemExit):
    return isinstance(error.__context__, BrokenPipeError)
  if not isinstance(error, BrokenPipeError):
    return False
  output = sys.stdout.fileno()
  poll = select.poll()
  poll.register(output, 0)
  is_closed = any(event & select.POLLERR for _, event in poll.poll(0))
  if is_closed:  # and not a socket
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
  return is_closed


def _leave(code: int) -> NoReturn:
  """Ends the process though libraries still compute: Python's own end would crash.

  One of several processes ends as usual, for the others wait for it.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  if _leave_soon(code):
    sys.exit(code)
  for child in multiprocessing.active_children():
    child.kill()
  os._exit(code)


def _leave_soon(code: int) -> bool:
  """See `processes.leave_soon`; a process without jax has no others."""
  if 'jax' not in sys.modules:
    return False
  from harma_jax.devices.processes import leave_soon

  return leave_soon(code)
