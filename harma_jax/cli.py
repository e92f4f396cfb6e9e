"""What all command lines share: a user's mistake is one message and exit code 2."""

import difflib
import logging as standard_logging
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import ml_collections
from absl import app, flags, logging

from harma_jax.errors import UserError

MISTAKE = 2


def run(main: Callable[[Sequence[str]], int | None]) -> None:
  """Parses the flags, runs `main(argv)` and exits with what it returns.

  A UserError is printed alone on standard error, with exit code 2.
  """
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  logging.get_absl_handler().setFormatter(None)
  logging.get_absl_handler().addFilter(_is_for_users)
  try:
    app.run(main, flags_parser=_parse)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(MISTAKE)


def checked_config(config, *, path: str | None) -> ml_collections.ConfigDict:
  """The value of a config flag, locked.

  Raises:
    UserError: the file is not given, or is not there.
  """
  if path is None or not isinstance(config, ml_collections.ConfigDict):
    found = f'{path!r}, which cannot be read' if path else 'none'
    raise UserError(
      'Expected --config=FILE.py, as in --config=configs/quickstart.py; '
      f'found {found} (looked from {os.getcwd()}).'
    )
  return config.lock()


def _is_for_users(record: standard_logging.LogRecord) -> bool:
  """Whether a line is ours or a warning: what libraries do is not a user's concern."""
  ours = pathlib.Path(record.pathname).is_relative_to(pathlib.Path(__file__).parent)
  return ours or record.levelno >= standard_logging.WARNING


def no_arguments(argv: Sequence[str]) -> None:
  """Raises UserError where words stand on the command line that no flag takes."""
  if len(argv) > 1:
    raise UserError(f'Expected only --flags=...; found {" ".join(argv[1:])}.')


def _parse(argv: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(argv)
  except flags.IllegalFlagValueError as error:
    # A config file's own error comes as the text of its traceback; the last line tells.
    text = str(error).strip().splitlines()
    message = text[-1].removeprefix('harma_jax.errors.UserError: ')
    raise UserError(message if len(text) == 1 else f'{message} ({text[0]})') from error
  except flags.Error as error:
    raise UserError(f'{error}. --help lists the flags.') from error
  except (AttributeError, KeyError) as error:
    raise UserError(_unknown_field(argv)) from error


def _unknown_field(argv: Sequence[str]) -> str:
  """Names the first `--config.path` that the config does not have."""
  for argument in argv:
    path = argument.lstrip('-').split('=')[0]
    if not argument.startswith('--config.'):
      continue
    fields = flags.FLAGS['config'].value
    for depth, key in enumerate(path.split('.')[1:], start=1):
      if not isinstance(fields, ml_collections.ConfigDict) or key not in fields:
        where = '.'.join(path.split('.')[:depth])
        return _no_such_field(argument, key, where, fields)
      fields = fields[key]
  return f'A field of {" ".join(argv)} does not exist.'


def _no_such_field(argument: str, key: str, where: str, fields) -> str:
  if not isinstance(fields, ml_collections.ConfigDict):
    return f'{argument}: {where} is a value and has no fields.'
  names = sorted(fields.keys())
  near = difflib.get_close_matches(key, names, n=1)
  hint = f' Did you mean {near[0]}?' if near else ''
  return f'{argument}: {where} has no field {key!r}; it has {", ".join(names)}.{hint}'
