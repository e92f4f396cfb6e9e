"""Flags that several commands have, and what they name."""

import functools
import json
import pathlib
from collections.abc import Callable

import ml_collections
from absl import flags
from ml_collections import config_flags

from harma_jax.building.config_file import shipped, shipped_names
from harma_jax.errors import UserError

# All command lines take these; those that read one say so with `shared_flag`.
WORKDIR = flags.DEFINE_string(
  'workdir', None, 'The folder of a run; training makes workdir/<name of the config>.'
)
OUT = flags.DEFINE_string('out', None, 'What to write.')
QUIET = flags.DEFINE_bool('quiet', False, 'Says warnings and results alone.')
JSON = flags.DEFINE_bool('json', False, 'Prints results as JSON, for machines.')

# Every command takes these, and says so.
EVERYWHERE = ('quiet',)

flags.disclaim_key_flags()  # --help shows one where `shared_flag` takes it.


def _define_config() -> flags.FlagHolder:
  return config_flags.DEFINE_config_file(
    'config',
    help_string=(
      'FILE.py[:ARGUMENT]: your own file by its path, or by its name one that comes '
      f'with harma_jax: {", ".join(shipped_names())}. --config.FIELD=VALUE sets a '
      f'field; {shipped("common.py")} has them all, with their meaning.'
    ),
  )


# In the order in which --help shows them.
_SHARED = {
  'config': _define_config,
  'workdir': lambda: WORKDIR,
  'data_root': functools.partial(
    flags.DEFINE_string,
    'data_root',
    None,
    'Where the data set is now. Default: where it was in training.',
  ),
  'images': functools.partial(
    flags.DEFINE_string, 'images', 'images', 'The folder of images.'
  ),
  'split': functools.partial(
    flags.DEFINE_list, 'split', None, 'Default: the splits that the runs evaluate.'
  ),
  'out': lambda: OUT,
  'json': lambda: JSON,
  'on_bad_image': functools.partial(
    flags.DEFINE_enum,
    *('on_bad_image', 'raise', ('raise', 'skip')),
    'Stop at an image that cannot be used, or leave it out.',
  ),
  'bands': functools.partial(
    flags.DEFINE_string,
    'bands',
    None,
    'Red, green and blue of files with more bands: 4,3,2 or names, B4,B3,B2.',
  ),
  'stretch': functools.partial(
    flags.DEFINE_string,
    'stretch',
    None,
    'Of values that are not of 8 bits: auto, none, percent or MIN,MAX.',
  ),
}
SHARED = tuple(_SHARED)


def shared_flag(name: str) -> flags.FlagHolder:
  """The flag of this name, which the help of the module that calls this shows."""
  flag = _define(name)
  flags.declare_key_flag(name)
  return flag


@functools.cache
def _define(name: str) -> flags.FlagHolder:
  """Once: one program may import several commands that take a flag."""
  return _SHARED[name]()


def read_config_flag(name: str) -> tuple[ml_collections.ConfigDict, str]:
  """The config of the flag `--<name>=FILE.py[:ARGUMENT]`, locked, and what it says.

  Raises:
    UserError: the flag is not given, or gives something else than a config.
  """
  flag = flags.FLAGS[name]
  path = config_flags.get_config_filename(flag) if flag.present else ''
  if not path:
    raise UserError(
      f'Expected --{name}=FILE.py, a file of your own or one that comes with harma_jax '
      f'({", ".join(shipped_names())}), as in --{name}=quickstart.py; found none.'
    )
  if not isinstance(flag.value, ml_collections.ConfigDict):
    raise UserError(
      f'--{name}={path}: expected a file whose get_config() returns a ConfigDict; '
      f'found {type(flag.value).__name__}. See {shipped("quickstart.py")}.'
    )
  return flag.value.lock(), path


def workdir() -> pathlib.Path:
  """The folder that `--workdir` names.

  Raises:
    UserError: it names none.
  """
  if not WORKDIR.value:
    raise UserError('Expected --workdir=FOLDER, the folder of a run; found none.')
  return pathlib.Path(WORKDIR.value)


def given(flag: flags.FlagHolder, what: str) -> str:
  """The value of a flag that must not be empty; `what` it is, as in `--out=FOLDER`.

  Raises:
    UserError: it is empty.
  """
  if not flag.value:
    raise UserError(f'Expected --{flag.name}={what}; found none. --help shows more.')
  return flag.value


def numbers(flag: flags.FlagHolder) -> list[int]:
  """The whole numbers of a flag that lists some.

  Raises:
    UserError: one is none.
  """
  try:
    return [int(word) for word in flag.value]
  except ValueError as error:
    raise UserError(
      f'--{flag.name}: expected whole numbers with commas between; found '
      f'{",".join(flag.value)!r}.'
    ) from error


def asks_for_json() -> bool:
  """Whether a machine reads what is printed."""
  return JSON.value


def answer(content, show: Callable[[], None]) -> None:
  """Gives a result: `show()` for the eye, or JSON with --json; and JSON to --out."""
  if OUT.value:
    write_json(OUT, content)
  if JSON.value:
    print(json.dumps(content, indent=2))
  else:
    show()


def write_json(flag: flags.FlagHolder, content) -> None:
  """Writes `content` to the file that a flag names.

  Raises:
    UserError: it cannot be written.
  """
  write_text(flag, json.dumps(content, indent=2) + '\n')


def write_text(
  flag: flags.FlagHolder, text: str, *, default: pathlib.Path | None = None
) -> pathlib.Path:
  """Writes `text`, in UTF-8, to the file that a flag names; returns its path.

  Args:
    flag: names the file.
    text: what to write.
    default: the file where the flag names none.

  Raises:
    UserError: it cannot be written.
  """
  return write_bytes(flag, text.encode(), default=default)


def write_bytes(
  flag: flags.FlagHolder, content: bytes, *, default: pathlib.Path | None = None
) -> pathlib.Path:
  """As `write_text`, of what is no text."""
  path = pathlib.Path(flag.value or default).expanduser()
  try:
    path.write_bytes(content)
  except OSError as error:
    raise UserError(
      f'--{flag.name}={path}: expected a file that can be written; {error.strerror}. '
      f'Give another --{flag.name}.'
    ) from error
  return path
