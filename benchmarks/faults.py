"""Kills a short run at random times until nothing can be lost by it any more.

  python -m benchmarks.faults --kills=200 --out=benchmarks/faults.json
    [--folder=FOLDER] [--seed=0]

A run of drawn scenes that saves before every second step is started, killed with
SIGKILL at a random time and started again with the same command, until it ends; then
another begins. Every run that ends is compared, bit by bit, with one that was never
killed: the last state, the best weights, all metrics. With the same `--folder` a
campaign that was stopped itself goes on.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

from harma_jax.build import (
  build_model,
  build_optimizer,
  read_workdir,
  state_shapes,
)
from harma_jax.checkpoint import Checkpoints
from harma_jax.workdir import read_config

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
RUN = (
  '--config=configs/rsitmd.py',
  '--config.data.scenes.style=summer',
  '--config.data.scenes.train=16',
  '--config.data.scenes.val=8',
  '--config.data.scenes.test=8',
  '--config.model.size=tiny-16',
  '--config.model.image_size=16',
  '--config.model.adapters=none',
  '--config.optimizer.train=projection',
  '--config.objective.triplet_weight=0',
  '--config.init=',
  '--config.train.batch_size=16',
  '--config.train.epochs=8',
  '--config.evaluation.batch_size=8',
  '--config.evaluation.every_epochs=2',
  '--config.checkpoint.every_steps=2',
  '--config.log_every=1',
)
STEPS = 40
REFERENCE, KILLS = 'reference', 'kills.jsonl'
UNFINISHED = '*orbax-checkpoint-tmp*'


def main() -> None:
  """Prints the report, and writes it where `--out` says."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--kills', type=int, default=200)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--folder', type=pathlib.Path)
  parser.add_argument('--out', type=pathlib.Path)
  options = parser.parse_args()
  with contextlib.ExitStack() as stack:
    folder = options.folder
    if folder is None:
      folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    report = campaign(folder.resolve(), kills=options.kills, seed=options.seed)
  text = json.dumps(report, indent=2)
  print(text)
  if options.out:
    options.out.write_text(text + '\n')
  sys.exit(0 if report['all_identical'] else 1)


def campaign(folder: pathlib.Path, *, kills: int, seed: int) -> dict:
  """Kills and starts again until `kills` are done and the last run has ended.

  Args:
    folder: of the runs and of the account `kills.jsonl`.
    kills: how many.
    seed: of their times.

  Returns:
    The report.
  """
  folder.mkdir(parents=True, exist_ok=True)
  life = measure_life(folder)
  while True:
    rows = read_rows(folder / KILLS)
    number = sum('killed' in row for row in rows)
    workdir = folder / f'run{sum("identical" in row for row in rows)}'
    if number >= kills and not workdir.exists():
      return report(rows, life=life, seed=seed)
    after = np.random.default_rng([seed, len(rows)]).uniform(0, life)
    append(folder / KILLS, one_start(workdir, after=after if number < kills else None))


def measure_life(folder: pathlib.Path) -> float:
  """Seconds of a run that nobody kills, once what it compiles is kept."""
  for name in ('warm', REFERENCE):
    workdir = folder / name
    if not (workdir / 'results.json').exists():
      started = time.monotonic()
      finish(start(workdir))
      (workdir / 'seconds.json').write_text(json.dumps(time.monotonic() - started))
  return json.loads((folder / REFERENCE / 'seconds.json').read_text())


def one_start(workdir: pathlib.Path, *, after: float | None) -> dict:
  """Starts the run and kills it `after` seconds, unless it has ended by then."""
  before = unfinished(workdir), len(train_rows(workdir))
  started = time.monotonic()
  program = start(workdir)
  try:
    program.wait(timeout=after)
  except subprocess.TimeoutExpired:
    program.kill()
  seconds = time.monotonic() - started
  finish(program, may_be_killed=True)
  if program.returncode == 0:
    return {'identical': differences(workdir) == [], 'seconds': seconds}
  killed = phase(workdir, before=before)
  return {
    'killed': killed,
    'repeated_steps': 0 if killed == 'start' else repeated_steps(workdir),
    'seconds': seconds,
  }


def start(workdir: pathlib.Path) -> subprocess.Popen:
  """The run as a user starts it, on one device, compiled fast."""
  data = f'--config.data.root={workdir.parent / "data"}'
  command = [sys.executable, '-m', 'harma_jax.main', *RUN, data]
  environment = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': '--xla_backend_optimization_level=0',
    'JAX_COMPILATION_CACHE_DIR': str(workdir.parent / 'compiled'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  return subprocess.Popen(
    [*command, f'--workdir={workdir}'],
    cwd=REPOSITORY,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def finish(program: subprocess.Popen, *, may_be_killed: bool = False) -> None:
  """Waits for the end; raises RuntimeError, with what was printed, of another one."""
  printed, _ = program.communicate()
  if program.returncode and not (may_be_killed and program.returncode == -9):
    raise RuntimeError(f'exit code {program.returncode}:\n{printed}')


def phase(workdir: pathlib.Path, *, before: tuple[set, int]) -> str:
  """In what a kill came: `saving` where a folder is left that has not got its name."""
  unfinished_before, rows_before = before
  if unfinished(workdir) - unfinished_before:
    return 'saving'
  return 'training' if len(train_rows(workdir)) != rows_before else 'start'


def unfinished(workdir: pathlib.Path) -> set[tuple[str, int]]:
  """The folders of saves that have not ended, each with what tells it from others."""
  found = [*workdir.glob(UNFINISHED), *workdir.glob(f'checkpoints/{UNFINISHED}')]
  return {(path.name, path.stat().st_ino) for path in found}


def repeated_steps(workdir: pathlib.Path) -> int:
  """Steps whose rows are there and that no checkpoint holds."""
  saved = [int(p.name) for p in workdir.glob('checkpoints/*') if p.name.isdecimal()]
  rows = train_rows(workdir)
  return max((rows[-1]['step'] if rows else 0) - max(saved, default=0), 0)


def differences(workdir: pathlib.Path) -> list[str]:
  """What of an ended run is not bit by bit that of the run that nobody killed."""
  reference = workdir.parent / REFERENCE
  pairs = {
    'last state': (last_state(workdir), last_state(reference)),
    'best weights': (read_workdir(workdir), read_workdir(reference)),
  }
  different = [
    name for name, (tree, other) in pairs.items() if not all_equal(tree, other)
  ]
  rows, of_reference = (metrics_of(each) for each in (workdir, reference))
  return different + (['metrics'] if rows != of_reference else [])


def all_equal(tree, other) -> bool:
  """Whether two trees have the same arrays."""
  return jax.tree.all(jax.tree.map(np.array_equal, tree, other))


def last_state(workdir: pathlib.Path):
  """The state after the last step, the optimizer's included."""
  config = read_config(workdir)
  optimizer, _ = build_optimizer(config, total_steps=STEPS)
  device = jax.sharding.SingleDeviceSharding(jax.devices('cpu')[0])
  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
    state_shapes(config, build_model(config), optimizer),
  )
  with contextlib.closing(Checkpoints(workdir)) as checkpoints:
    return checkpoints.restore(STEPS, shapes)


def metrics_of(workdir: pathlib.Path) -> list[dict]:
  """The rows of a run but for their speed."""
  rows = read_rows(workdir / 'metrics.jsonl')
  return [{k: v for k, v in row.items() if k != 'pairs_per_second'} for row in rows]


def train_rows(workdir: pathlib.Path) -> list[dict]:
  """The rows of training steps."""
  return [row for row in metrics_of(workdir) if row['kind'] == 'train']


def read_rows(path: pathlib.Path) -> list[dict]:
  """The whole rows of a file; none where it is not there."""
  lines = path.read_text().split('\n')[:-1] if path.exists() else []
  return [json.loads(line) for line in lines]


def append(path: pathlib.Path, row: dict) -> None:
  """Adds a row and shows it."""
  print(row, file=sys.stderr, flush=True)
  with path.open('a') as file:
    file.write(json.dumps(row) + '\n')


def report(rows: list[dict], *, life: float, seed: int) -> dict:
  """What a campaign found, from its account."""
  killed = [row for row in rows if 'killed' in row]
  ended = [row['identical'] for row in rows if 'identical' in row]
  repeated = [row['repeated_steps'] for row in killed]
  return {
    'kills': len(killed),
    'starts': len(rows),
    'runs_ended': len(ended),
    'runs_identical': sum(ended),
    'all_identical': all(ended),
    'kills_during': dict(collections.Counter(row['killed'] for row in killed)),
    'steps_of_a_run': STEPS,
    'repeated_steps': sum(repeated),
    'most_repeated_steps': max(repeated, default=0),
    'seconds_of_an_unkilled_run': round(life, 1),
    'seconds': round(sum(row['seconds'] for row in rows)),
    'seed': seed,
    'jax': jax.__version__,
    'machine': f'{platform.machine()}, {os.cpu_count()} CPUs',
  }


if __name__ == '__main__':
  main()
