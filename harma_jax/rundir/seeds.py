"""The folder of several seeds of one config."""

import json
import pathlib
import re
import shlex

from harma_jax.errors import UserError
from harma_jax.rundir.workdir import is_workdir

SEEDS_FILE = 'seeds.json'


def name_of(seed: int) -> str:
  """The folder of a seed, below that of all."""
  return f'seed_{seed}'


def started_seeds(folder: str | pathlib.Path) -> list[int]:
  """The seeds that have a work folder below `folder`; none where it is a run's own."""
  if is_workdir(folder):
    return []
  names = (
    (re.fullmatch(name_of(r'(\d+)'), path.name), path)
    for path in pathlib.Path(folder).glob(name_of('*'))
  )
  return sorted(int(match[1]) for match, path in names if match and is_workdir(path))


def check_not_of_seeds(folder: pathlib.Path) -> None:
  """Checks that a folder in which one run is to train does not hold those of seeds.

  Raises:
    UserError: it does; names them.
  """
  seeds = started_seeds(folder)
  if not seeds:
    return
  first = shlex.quote(str(folder / name_of(seeds[0])))
  raise UserError(
    f'Expected a work folder for one run; found {folder}, that of the seeds '
    f'{", ".join(map(str, seeds))}. Give --seeds={",".join(map(str, seeds))} to go on '
    f'with them, --workdir={first} for one of them, or another --workdir.'
  )


def finished_seeds(folder: str | pathlib.Path) -> list[pathlib.Path]:
  """The work folders that a folder of several seeds lists; empty for another folder.

  Raises:
    UserError: it has such folders, and not all have finished.
  """
  path = pathlib.Path(folder) / SEEDS_FILE
  if path.is_file():
    seeds = json.loads(path.read_text())['seeds']
    return [pathlib.Path(folder) / name_of(seed) for seed in seeds]
  if any(pathlib.Path(folder).glob(name_of('*'))):
    raise UserError(
      f'Expected a folder whose seeds have all finished, with {SEEDS_FILE}; found '
      f'{folder} without. Resume it, or name the runs with commas between them.'
    )
  return []


def runs_in(folder: str | pathlib.Path) -> list[pathlib.Path]:
  """The work folders of several seeds; `folder` alone where it is no folder of some.

  Raises:
    UserError: as `finished_seeds`.
  """
  seeds = [] if is_workdir(folder) else finished_seeds(folder)
  return seeds or [pathlib.Path(folder)]
