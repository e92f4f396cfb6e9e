"""Runs a command: its mistakes are one message, and its exit code says how it ended."""

import signal
import sys
from collections.abc import Callable, Sequence

from absl import app

from harma_jax.cli.logs import show_ours
from harma_jax.cli.parse import parse_flags
from harma_jax.devices.processes import leave_soon
from harma_jax.devices.stop import Stopped
from harma_jax.errors import UserError

DEFECT, MISTAKE, INTERRUPTED = 1, 2, 130


def run(
  main: Callable[[Sequence[str]], int | None], *, interrupted: str = 'Interrupted.'
) -> None:
  """Parses the flags, runs `main(argv)` and exits with what it returns.

  A UserError is printed alone on standard error, with exit code 2; a KeyboardInterrupt
  too, `interrupted` where it says nothing, with exit code 130. Stopping at the
  platform's request is a success.
  """
  show_ours()
  try:
    app.run(main, flags_parser=parse_flags)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    leave_soon(MISTAKE)
    sys.exit(MISTAKE)
  except KeyboardInterrupt as stopped:
    print(str(stopped) or interrupted, file=sys.stderr)
    leave_soon(INTERRUPTED)
    sys.exit(INTERRUPTED)
  except Stopped as stopped:
    print(interrupted, file=sys.stderr)
    sys.exit(0 if stopped.signal == signal.SIGTERM else INTERRUPTED)
  except Exception:
    leave_soon(DEFECT)
    raise
