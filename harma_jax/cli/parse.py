"""From the words of a command line to flags; a word that does not fit is named."""

import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence

import ml_collections
from absl import flags, logging

from harma_jax.building.config_file import find_config, load_config
from harma_jax.cli.help import asks_for_help, help_of, terminal_width
from harma_jax.data.local_paths import HUB, check_local
from harma_jax.errors import UserError, did_you_mean


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Sets the flags; returns the words that no flag takes, the program's name first.

  Where the words ask for help, prints it and exits.

  Raises:
    UserError: an unknown flag or field, a value of another type, a config that fails.
  """
  if asks_for_help(argv):
    print(help_of(sys.modules['__main__'], width=terminal_width()))
    sys.exit(0)
  _check_local(argv)
  argv, config = _find_configs(argv) if 'config' in flags.FLAGS else (argv, '')
  argv, rounding = _find_rounding(argv)
  if config:
    load_config(config)  # Flags would swallow its errors.
  try:
    words = flags.FLAGS(argv)
    _check_config()
    if rounding:
      flags.FLAGS['config'].value.train.batch_rounding = rounding
    _expand_home()
    _be_quiet()
    return words
  except flags.Error as error:
    raise UserError(f'{error}. --help lists the flags.') from error
  except (AttributeError, KeyError) as error:
    raise UserError(_unknown_field(argv, config=load_config(config))) from error


def no_arguments(argv: Sequence[str]) -> None:
  """Raises UserError where words stand on the command line that no flag takes."""
  if len(argv) > 1:
    raise UserError(f'Expected only --flags=...; found {" ".join(argv[1:])}.')


def _check_local(argv: Sequence[str]) -> None:
  """Raises UserError where a word, or the value of a flag, is no path of a disk."""
  for before, word in itertools.pairwise(argv):
    flag, equals, value = word.partition('=')
    if not (equals and flag.startswith('-')):
      flag, value = 'a path', word
    is_source = (flag if equals else before).strip('-') == 'source'
    for one in value.split(','):
      if not (is_source and one.startswith(HUB)):  # which is downloaded
        check_local(one, flag)


def _check_config() -> None:
  """The same of what a config file says."""
  if 'config' in flags.FLAGS and flags.FLAGS['config'].value is not None:
    for field, value in _texts('config', flags.FLAGS['config'].value):
      check_local(value, field)


def _texts(name: str, value: object) -> Iterator[tuple[str, str]]:
  """All texts in a config, by their names with dots."""
  if isinstance(value, ml_collections.ConfigDict):
    for key, inner in value.items():
      yield from _texts(f'{name}.{key}', inner)
  elif isinstance(value, str):
    yield name, value


def _expand_home() -> None:
  """Gives flags their paths with `~` as the shell would, which leaves `--out=~/x`."""
  for name in flags.FLAGS:
    flag = flags.FLAGS[name]
    if flag.present and isinstance(flag.value, str):
      flag.value = os.path.expanduser(flag.value)


def _be_quiet() -> None:
  """Shows warnings alone, and no bars: rich asks the environment for them."""
  if 'quiet' in flags.FLAGS and flags.FLAGS['quiet'].value:
    logging.set_verbosity(logging.WARNING)
    os.environ['TTY_INTERACTIVE'] = '0'


def _find_configs(argv: Sequence[str]) -> tuple[list[str], str]:
  """The words with the path of what `--config` names, and that; '' for none.

  The flag itself knows paths alone.
  """
  words, config = [], ''
  following = iter(argv)
  for word in following:
    match = re.fullmatch(r'--?config(?:=(.*))?', word)
    name = match and (next(following, '') if match[1] is None else match[1])
    if name:
      config = find_config(os.path.expanduser(name))
    words.append(f'--config={config}' if name else word)
  return words, config


def _find_rounding(argv: Sequence[str]) -> tuple[list[str], str]:
  """The words without `auto:` before a batch's number, and `train.batch_rounding`.

  That is `nearest` with it, `none` with a number alone, which is meant also where the
  config would round its own, and '' where neither is given. Flags parse numbers alone.
  """
  words, rounding = [], ''
  for word in argv:
    match = re.fullmatch(r'(--?config\.train\.batch_size=)(auto:)?(\d+)', word)
    if match:
      rounding = 'nearest' if match[2] else 'none'
    words.append(match[1] + match[3] if match else word)
  return words, rounding


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
  hint = did_you_mean(key, names)
  return f'{argument}: {where} has no field {key!r}; it has {", ".join(names)}.{hint}'
