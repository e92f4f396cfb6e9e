"""What all command lines share: a user's mistake is one message and exit code 2."""

import difflib
import functools
import io
import itertools
import json
import logging as standard_logging
import os
import pathlib
import re
import runpy
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from harma_jax.devices.processes import leave_soon
from harma_jax.devices.stop import Stopped
from harma_jax.errors import UserError

DEFECT, MISTAKE, INTERRUPTED = 1, 2, 130
NATIVE = 'harma_jax.native'  # logs what is raised where native code calls Python

# What several command lines have; each reads what it needs.
WORKDIR = flags.DEFINE_string(
  'workdir', None, 'The folder of a run. To train: workdir/<name of the config>.'
)
OUT = flags.DEFINE_string('out', None, 'What to write.')

# What some command lines have, which take it with `shared_flag`.
flags.disclaim_key_flags()  # --help shows it where it is taken.
_SHARED = {
  'split': functools.partial(
    flags.DEFINE_list, 'split', None, 'Default: the splits that the runs evaluate.'
  ),
  'data_root': functools.partial(
    flags.DEFINE_string,
    'data_root',
    None,
    'Where the data set is now. Default: where it was in training.',
  ),
  'images': functools.partial(
    flags.DEFINE_string, 'images', 'images', 'The folder of images.'
  ),
}


@functools.cache
def shared_flag(name: str) -> flags.FlagHolder:
  """The flag of this name, defined when the first command takes it.

  One program may import several commands that take it.
  """
  return _SHARED[name]()


def given(flag: flags.FlagHolder, what: str) -> str:
  """The value of a flag that must not be empty; `what` it is, as in `--out=FOLDER`.

  Raises:
    UserError: it is empty.
  """
  if not flag.value:
    raise UserError(f'Expected --{flag.name}={what}; found none. --help shows more.')
  return flag.value


def write_json(flag: flags.FlagHolder, content) -> None:
  """Writes `content` to the file that a flag names.

  Raises:
    UserError: it cannot be written.
  """
  write_text(flag, json.dumps(content, indent=2) + '\n')


def write_text(flag: flags.FlagHolder, text: str) -> pathlib.Path:
  """Writes `text`, in UTF-8, to the file that a flag names; returns its path.

  Raises:
    UserError: it cannot be written.
  """
  path = pathlib.Path(flag.value).expanduser()
  try:
    path.write_text(text, encoding='utf-8')
  except OSError as error:
    raise UserError(
      f'--{flag.name}={path}: expected a file that can be written; {error.strerror}.'
    ) from error
  return path


def run(
  main: Callable[[Sequence[str]], int | None], *, interrupted: str = 'Interrupted.'
) -> None:
  """Parses the flags, runs `main(argv)` and exits with what it returns.

  A UserError is printed alone on standard error, with exit code 2; a KeyboardInterrupt
  too, `interrupted` where it says nothing, with exit code 130. Stopping at the
  platform's request is a success.
  """
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  logging.get_absl_handler().setFormatter(None)
  logging.get_absl_handler().addFilter(_is_for_users)
  logging.get_absl_handler().python_handler.stream = _StandardError()
  sys.unraisablehook = _show_unraisable
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


def read_config_flag(name: str) -> tuple[ml_collections.ConfigDict, str]:
  """The config of the flag `--<name>=FILE.py[:ARGUMENT]`, locked, and what it says.

  Raises:
    UserError: the flag is not given, or gives something else than a config.
  """
  flag = flags.FLAGS[name]
  path = config_flags.get_config_filename(flag) if flag.present else ''
  if not path:
    raise UserError(
      f'Expected --{name}=FILE.py, as in --{name}=configs/quickstart.py; found none.'
    )
  if not isinstance(flag.value, ml_collections.ConfigDict):
    raise UserError(
      f'--{name}={path}: expected a file whose get_config() returns a ConfigDict; '
      f'found {type(flag.value).__name__}. See configs/quickstart.py.'
    )
  return flag.value.lock(), path


class _StandardError(io.TextIOBase):
  """Standard error as it is when a line comes: a progress bar puts itself before it."""

  def write(self, text: str) -> int:
    return sys.stderr.write(text)

  def flush(self) -> None:
    sys.stderr.flush()


def _show_unraisable(found) -> None:
  """As Python does, but for what a library's native code called and does not name.

  When one write fails, TensorStore tells of the others to an event loop that is closed.
  """
  if found.object is not None or found.err_msg is not None:
    sys.__unraisablehook__(found)
    return
  standard_logging.getLogger(NATIVE).error(
    'an error in native code of a library',
    exc_info=(found.exc_type, found.exc_value, found.exc_traceback),
  )


def _is_for_users(record: standard_logging.LogRecord) -> bool:
  """Whether a line is ours or a warning: what libraries do is not a user's concern.

  A traceback of native code is of an error that its caller gets to see.
  """
  ours = pathlib.Path(record.pathname).is_relative_to(pathlib.Path(__file__).parent)
  warns = record.levelno >= standard_logging.WARNING and not record.exc_info
  return (ours and record.name != NATIVE) or warns


def workdir() -> pathlib.Path:
  """The folder that `--workdir` names.

  Raises:
    UserError: it names none.
  """
  if not WORKDIR.value:
    raise UserError('Expected --workdir=FOLDER, the folder of a run; found none.')
  return pathlib.Path(WORKDIR.value)


def no_arguments(argv: Sequence[str]) -> None:
  """Raises UserError where words stand on the command line that no flag takes."""
  if len(argv) > 1:
    raise UserError(f'Expected only --flags=...; found {" ".join(argv[1:])}.')


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Sets the flags; returns the words that no flag takes, the program's name first.

  Raises:
    UserError: an unknown flag or field, a value of another type, a config that fails.
  """
  path = _config_path(argv)
  if path:
    load_config(path)
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    raise UserError(f'{error}. --help lists the flags.') from error
  except (AttributeError, KeyError) as error:
    raise UserError(_unknown_field(argv, config=load_config(path))) from error


def _config_path(argv: Sequence[str]) -> str:
  """What `--config` says, '' where it is not given."""
  for argument, following in itertools.pairwise([*argv, '']):
    match = re.fullmatch(r'--?config(?:=(.*))?', argument)
    if match:
      return following if match[1] is None else match[1]
  return ''


def load_config(path: str) -> object:
  """What the file's `get_config` returns, tried before the flags swallow its errors.

  The folder that holds the file's folder is made a place to import from, so that
  `configs.common` is found from wherever the program is started.

  Raises:
    UserError: the file is not there or fails; names the line.
  """
  name, *argument = path.split(':', 1)
  file = pathlib.Path(name)
  if not file.is_file():
    raise UserError(
      f'--config={path}: expected a file, as in --config=configs/quickstart.py; found '
      f'none of this name (looked from {os.getcwd()}).'
    )
  sys.path.append(str(file.resolve().parent.parent))
  try:
    return runpy.run_path(str(file))['get_config'](*argument)
  except UserError:
    raise
  except Exception as error:  # whatever a user's file may raise
    raise UserError(_failed_config(path, error, file=file)) from error


def _failed_config(path: str, error: Exception, *, file: pathlib.Path) -> str:
  frames = traceback.extract_tb(error.__traceback__)
  lines = [frame.lineno for frame in frames if frame.filename == str(file)]
  line = f', line {lines[-1]}' if lines else ''
  return (
    f'--config={path}: expected a file with get_config(); {file}{line} fails with '
    f'{type(error).__name__}: {error}. Correct the file.'
  )


def _unknown_field(argv: Sequence[str], *, config) -> str:
  """Names the first `--config.path` that the config does not have."""
  for argument in argv:
    if not re.match(r'--?(no)?config\.', argument):
      continue
    path = argument.lstrip('-').removeprefix('no').split('=')[0].split('.')
    fields = config
    for depth, key in enumerate(path[1:], start=1):
      if not isinstance(fields, ml_collections.ConfigDict) or key not in fields:
        return _no_such_field(argument, key, '.'.join(path[:depth]), fields)
      fields = fields[key]
  return f'A field of {" ".join(argv)} does not exist.'


def _no_such_field(argument: str, key: str, where: str, fields) -> str:
  if not isinstance(fields, ml_collections.ConfigDict):
    return f'{argument}: {where} is a value and has no fields.'
  names = sorted(fields.keys())
  near = difflib.get_close_matches(key, names, n=1)
  hint = f' Did you mean {near[0]}?' if near else ''
  return f'{argument}: {where} has no field {key!r}; it has {", ".join(names)}.{hint}'
