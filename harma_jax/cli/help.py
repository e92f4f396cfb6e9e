"""The help of a command: what its module says of it, and its own flags."""

import inspect
import itertools
import shutil
import textwrap
from collections.abc import Sequence
from types import ModuleType

from absl import flags

from harma_jax.cli.shared_flags import EVERYWHERE, SHARED

WORDS = ('--help', '-help', '-h', '-?', '--helpshort')
COLUMN = 26  # where the text of a flag begins
NARROWEST, WIDEST = 50, 88

_BREAKS = {'break_on_hyphens': False, 'break_long_words': False}
_VALUES = {'int': 'N', 'float': 'X', 'comma separated list of strings': 'A,B'}


def asks_for_help(argv: Sequence[str]) -> bool:
  """Whether one of the words, before a `--`, asks for help."""
  return any(word in WORDS for word in itertools.takewhile('--'.__ne__, argv))


def terminal_width() -> int:
  """Columns to write help in."""
  return min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)


def help_of(module: ModuleType, *, width: int) -> str:
  """What the docstring of a command's module says, and its flags; no library's.

  Args:
    module: of the command; its docstring ends with examples.
    width: in characters; what is indented in the docstring is left as it is.
  """
  paragraphs = inspect.cleandoc(module.__doc__ or '').split('\n\n')
  parts = [_wrapped(paragraph, width=width) for paragraph in paragraphs]
  found = flags.FLAGS.get_key_flags_for_module(module)
  found += [flags.FLAGS[name] for name in EVERYWHERE if name in flags.FLAGS]
  if found:
    lines = (_line(flag, width=width) for flag in sorted(found, key=_place))
    parts.append('\n'.join(['Flags:', *lines]))
  return '\n\n'.join(parts)


def _wrapped(paragraph: str, *, width: int) -> str:
  laid_out = any(line.startswith(' ') for line in paragraph.splitlines())
  return paragraph if laid_out else textwrap.fill(paragraph, width, **_BREAKS)


def _place(flag: flags.Flag) -> int:
  """Flags that commands share stand first."""
  return SHARED.index(flag.name) if flag.name in SHARED else len(SHARED)


def _line(flag: flags.Flag, *, width: int) -> str:
  """How the flag is spelled and, in the second column or below, what it means."""
  choices = '|'.join(getattr(flag.parser, 'enum_values', ()))
  text = flag.help.removeprefix(f'<{choices}>: ')
  default = f' Default: {flag.default}.' if flag.default else ''
  margin = ' ' * COLUMN
  lines = textwrap.wrap(text + default, width - COLUMN, **_BREAKS)
  value = choices or _VALUES.get(flag.flag_type(), '...')
  name = f'--[no]{flag.name}' if flag.boolean else f'--{flag.name}={value}'
  start = f'  {name}  '.ljust(COLUMN)
  if len(start) > COLUMN:
    start = f'{start.rstrip()}\n{margin}'
  return start + f'\n{margin}'.join(lines)
