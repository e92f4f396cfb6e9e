"""Config files: those that come with the package, and a user's own."""

import os
import pathlib
import runpy
import sys
import traceback

from harma_jax.errors import UserError, did_you_mean

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
FOLDER = PACKAGE / 'configs'


def shipped(name: str) -> pathlib.Path:
  """The path of a file that comes with the package, as in `shipped('common.py')`."""
  return FOLDER / name


def shipped_names() -> list[str]:
  """The names by which the configs that come with the package are found."""
  files = sorted(FOLDER.glob('*.py'))
  return [file.name for file in files if 'def get_config(' in file.read_text()]


def find_config(config: str) -> str:
  """`FILE.py[:ARGUMENT]` with the path of its file.

  Args:
    config: a user's own file by its path, or, where there is none, one that comes with
      the package by its name; with what its `get_config` is given.

  Raises:
    UserError: there is neither; names the shipped ones.
  """
  name, colon, argument = config.partition(':')
  if pathlib.Path(name).is_file():
    return config
  names = shipped_names()
  if name in names:
    return f'{shipped(name)}{colon}{argument}'
  raise UserError(
    f'--config={config}: expected a file, or the name of a config that comes with '
    f'harma_jax ({", ".join(names)}); found none of this name (looked from '
    f'{os.getcwd()}).{did_you_mean(pathlib.Path(name).name, names)}'
  )


def load_config(config: str) -> object:
  """What the `get_config` of `FILE.py[:ARGUMENT]` returns.

  The folder that holds the file's folder is made a place to import from: what lies
  beside a user's file is found from wherever the program is started.

  Raises:
    UserError: the file is not there or fails; names the line.
  """
  name, *argument = find_config(config).split(':', 1)
  file = pathlib.Path(name)
  above = file.resolve().parent.parent
  # Shipped files import by full names, and our modules are no one's top-level ones.
  if above != PACKAGE and str(above) not in sys.path:
    sys.path.append(str(above))
  try:
    return runpy.run_path(str(file))['get_config'](*argument)
  except UserError:
    raise
  except Exception as error:  # whatever a user's file may raise
    raise UserError(_failed(config, error, file=file)) from error


def _failed(config: str, error: Exception, *, file: pathlib.Path) -> str:
  frames = traceback.extract_tb(error.__traceback__)
  lines = [frame.lineno for frame in frames if frame.filename == str(file)]
  line = f', line {lines[-1]}' if lines else ''
  return (
    f'--config={config}: expected a file with get_config(); {file}{line} fails with '
    f'{type(error).__name__}: {error}. Correct the file.'
  )
