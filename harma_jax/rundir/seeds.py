"""The folder of several seeds of one config."""

import json
import pathlib

from harma_jax.errors import UserError

SEEDS_FILE = 'seeds.json'


def name_of(seed: int) -> str:
  """The folder of a seed, below that of all."""
  return f'seed_{seed}'


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
