"""`results.json`: what a run has found, if it is this run's."""

import json
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence

from harma_jax.errors import UserError
from harma_jax.rundir.reading import read_json, read_rows
from harma_jax.rundir.workdir import (
  METRICS_FILE,
  RESULTS_FILE,
  read_config,
  replace_text,
)

NEEDED = {'seed', 'best_step', 'steps', 'splits'}


def write_results(workdir: pathlib.Path, results: dict) -> None:
  """Writes what a run has found at its end."""
  replace_text(workdir / RESULTS_FILE, json.dumps(results, indent=2) + '\n')


def read_results(workdir: str | pathlib.Path) -> dict:
  """What a run has found at its end; empty where it has not ended.

  Raises:
    UserError: the file is damaged, or that of another run: its seed is not that of the
      config, or a step has another mean recall than in `metrics.jsonl`.
  """
  path = pathlib.Path(workdir).expanduser() / RESULTS_FILE
  if not path.is_file():
    return {}
  results = read_json(path)
  missing = NEEDED - results.keys()
  if missing:
    raise _of_another(path, f'no {", ".join(sorted(missing))}')
  config = read_config(workdir)
  if results['seed'] != config.seed:
    raise _of_another(path, f'seed {results["seed"]}, the config has {config.seed}')
  names = {role: config.data[f'{role}_split'] for role in ('val', 'test')}
  for found in _differences(results, read_rows(path.with_name(METRICS_FILE)), names):
    raise _of_another(path, found)
  return results


def _differences(
  results: Mapping, rows: Sequence[Mapping], names: Mapping[str, str]
) -> Iterator[str]:
  logged = {
    (row['split'], row['step']): row['mean_recall']
    for row in rows
    if row.get('kind') == 'evaluation'
  }
  for role, table in results['splits'].items():
    for name, recall in table.items():
      step = re.match(r'step (\d+)', name)
      at = names.get(role, role), step and int(step[1])
      if logged.get(at, recall['mean_recall']) != recall['mean_recall']:
        yield (
          f'mean recall {recall["mean_recall"]:.2f} on {role} at step {at[1]}, '
          f'{METRICS_FILE} has {logged[at]:.2f}'
        )


def _of_another(path: pathlib.Path, found: str) -> UserError:
  return UserError(
    f'Expected the results of the run in {path.parent}; found in {path.name}: {found}. '
    'It is of another run. Remove it; the command that trained writes it again, '
    'without a step.'
  )
