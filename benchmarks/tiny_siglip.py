"""A tiny SigLIP beside a tiny CLIP of its size: from random weights, then with HarMA.

  python -m benchmarks.tiny_siglip --root=RSICD --out=FILE.json --workdirs=FOLDER
    [--seeds 0 1 2] [--scratch_epochs=1] [--epochs=0.5] [--every_epochs=0.5]

Every run is a process of its own, and the two backbones take turns, seed by seed. What
is finished in FOLDER is not run again. FILE.json has the mean recall on val by epoch,
the speed of the logged intervals, the largest memory of the process and the counts of
parameters; it is written after each run.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

from benchmarks.compare_siglip import processor
from harma_jax.building.model import build_model
from harma_jax.building.step import build_optimizer, state_shapes
from harma_jax.rundir.reading import read_rows
from harma_jax.rundir.workdir import METRICS_FILE, PRETRAIN, RESULTS_FILE, read_config
from harma_jax.stepping.optim import count

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# Patches of 16: a quarter of the rows.
SIZES = {'tiny': 'tiny-16', 'tiny-siglip': 'tiny-siglip,patch_size=16'}
# The sigmoid loss sees what all features share, which a fast start throws off; the
# softmax loss gets the same.
BOTH = {'optimizer.warmup': 0.2, 'optimizer.clip_norm': 1.0}
MEASURED = 'run.json'


def command(
  name: str, *, seed: int, workdir: pathlib.Path, arguments: argparse.Namespace
) -> list[str]:
  """The command line of a run."""
  fields = {
    'seed': seed,
    'model.size': SIZES[name],
    'data.root': arguments.root,
    'data.test_split': '',
    'pretrain.train.epochs': arguments.scratch_epochs,
    'train.epochs': arguments.epochs,
    'evaluation.every_epochs': arguments.every_epochs,
    **BOTH,
  }
  return [
    *(sys.executable, '-m', 'harma_jax.main', f'--config=configs/rsicd.py:{name}'),
    f'--workdir={workdir}',
    *(f'--config.{field}={value}' for field, value in fields.items()),
  ]


def run(words: list[str]) -> dict:
  """Runs a command; its exit code, seconds of processor and largest memory in bytes."""
  environment = os.environ | {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(REPOSITORY)}
  started = subprocess.Popen(words, cwd=REPOSITORY, env=environment)
  _, status, usage = os.wait4(started.pid, 0)
  started.returncode = os.waitstatus_to_exitcode(status)  # or it is waited for again
  if started.returncode:
    sys.exit(f'Expected a run that ends well; found exit code {started.returncode}.')
  return {
    'processor_seconds': round(usage.ru_utime + usage.ru_stime),
    'peak_memory_bytes': usage.ru_maxrss * 1024,
  }


def parameters(folder: pathlib.Path) -> dict:
  """How many numbers a run trains, and how many its model has."""
  config = read_config(folder)
  optimizer, _ = build_optimizer(config, total_steps=1)
  state = state_shapes(config, build_model(config), optimizer)
  trainable = count(state.trainable)
  return {'trainable': trainable, 'all': trainable + count(state.frozen)}


def stage(folder: pathlib.Path) -> dict:
  """Mean recall on val by epoch, steps, pairs/s, parameters of a run's folder."""
  rows = read_rows(folder / METRICS_FILE)
  logged = [row for row in rows if 'pairs_per_second' in row]
  steps = {row['step']: row['epoch'] for row in logged}
  last = max(steps)
  return {
    'mean_recall': {
      f'{row["step"] * steps[last] / last:.2f}': round(row['mean_recall'], 2)
      for row in rows
      if row.get('split') == 'val'
    },
    'steps': json.loads((folder / RESULTS_FILE).read_text())['steps'],
    'pairs_per_second': round(
      statistics.median(row['pairs_per_second'] for row in logged), 1
    ),
    'parameters': parameters(folder),
    'last': {
      field: logged[-1][field]
      for field in ('contrastive', 'temperature', 'logit_bias')
      if field in logged[-1]
    },
  }


def named(word: str) -> str:
  """A word of the command line; of a path in it, which is this machine's, its name."""
  return re.sub(r'(?<![\w.])/\S*/', '', word)


def study(arguments: argparse.Namespace) -> None:
  """Runs what is missing, and writes what there is after each run."""
  found = {
    'command': ' '.join(
      ['python -m benchmarks.tiny_siglip', *map(named, sys.argv[1:])]
    ),
    'processor': processor(),
    'runs': [],
  }
  for seed in arguments.seeds:
    for name in SIZES:
      workdir = arguments.workdirs / f'{name}-{seed}'
      if not (workdir / MEASURED).is_file():
        words = command(name, seed=seed, workdir=workdir, arguments=arguments)
        (workdir / MEASURED).write_text(json.dumps(run(words)))
      found['runs'].append(
        {
          'backbone': name,
          'seed': seed,
          **json.loads((workdir / MEASURED).read_text()),
          'scratch': stage(workdir / PRETRAIN),
          'adapted': stage(workdir),
        }
      )
      arguments.out.write_text(json.dumps(found, indent=1) + '\n')


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--root', required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--workdirs', type=pathlib.Path, required=True)
  parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
  parser.add_argument('--scratch_epochs', type=float, default=1.0)
  parser.add_argument('--epochs', type=float, default=0.5)
  parser.add_argument('--every_epochs', type=float, default=0.5)
  return parser.parse_args(arguments)


if __name__ == '__main__':
  study(parse())
