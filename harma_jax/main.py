"""Trains on captioned images, and evaluates.

The same command again resumes. On several machines: docs/launching.md. With --seeds
each trains in a folder of its own, WORKDIR/seed_0 and so on, after one pretraining
where the config has one. --dry_run and --dry_run_topology rehearse a run.

Examples:
  harma-jax train --config=quickstart.py
  harma-jax train --config=rsitmd.py:clip --config.data.root=DATA
"""

import contextlib
import pathlib
import sys
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict

from harma_jax import cli
from harma_jax.cli import process_flags
from harma_jax.errors import UserError
from harma_jax.rundir.workdir import default_workdir
from harma_jax.tracking.kinds import parse_trackers

# What a command needs is imported where it is used: help and mistakes come at once.
_CONFIG = cli.shared_flag('config')
_WORKDIR = cli.shared_flag('workdir')
cli.shared_flag('json')
flags.adopt_module_key_flags(process_flags)
_SEEDS = flags.DEFINE_list('seeds', None, 'Of runs to train, and to average.')
_TRACKER = flags.DEFINE_list(
  'tracker', [], 'Also tells tensorboard, wandb, trackio or mlflow of the run.'
)
_DRY_RUN = flags.DEFINE_bool(
  'dry_run', False, 'Does everything once, reports and leaves nothing behind.'
)
_TOPOLOGY = flags.DEFINE_string(
  'dry_run_topology',
  None,
  'v5e:2x4, v5p:4x4x4, h100:8, ...: compiles the steps of the run for devices that are '
  'not there, without data, and says what they take and whether they fit.',
)
_QUICK = flags.DEFINE_bool(
  'quick', False, 'With --dry_run_topology: only for the longest captions.'
)


def main(argv: Sequence[str]) -> None:
  """Runs the config of the command line."""
  cli.no_arguments(argv)
  config, path = cli.read_config_flag(_CONFIG.name)
  _check_mode()
  workdir = pathlib.Path(_WORKDIR.value or default_workdir(path))
  run = _run_for_machines if cli.asks_for_json() else _run
  run = run if _TOPOLOGY.value is None else _rehearse_elsewhere
  run(config, workdir=workdir)


def _run(config: ConfigDict, *, workdir: pathlib.Path) -> None:
  from harma_jax.training.dry_run import dry_run
  from harma_jax.training.loop import train
  from harma_jax.training.seeds import parse_seeds, train_seeds

  seeds = None if _SEEDS.value is None else parse_seeds(_SEEDS.value)
  trackers = parse_trackers(_TRACKER.value)
  process_flags.join_others()
  if _DRY_RUN.value:
    dry_run(config, workdir=workdir)
  elif seeds:
    train_seeds(config, workdir=workdir, seeds=seeds, trackers=trackers)
  else:
    train(config, workdir=workdir, trackers=trackers)


def _run_for_machines(config: ConfigDict, *, workdir: pathlib.Path) -> None:
  """As `_run`; standard output has the results as JSON, and nothing else."""
  from harma_jax.rundir.seeds import SEEDS_FILE
  from harma_jax.rundir.workdir import RESULTS_FILE

  with contextlib.redirect_stdout(sys.stderr):
    _run(config, workdir=workdir)
  if not _DRY_RUN.value:
    file = workdir / (SEEDS_FILE if _SEEDS.value else RESULTS_FILE)
    print(file.read_text(), end='')


def _rehearse_elsewhere(config: ConfigDict, *, workdir: pathlib.Path) -> None:
  from harma_jax.devices.absent import prepare
  from harma_jax.devices.targets import read_topology
  from harma_jax.rehearsal.run import dry_run_topology

  topology = read_topology(_TOPOLOGY.value)
  prepare([topology])
  dry_run_topology(config, workdir=workdir, topology=topology, quick=_QUICK.value)


def _check_mode() -> None:
  found = [flag.name for flag in (_SEEDS, _DRY_RUN, _TOPOLOGY) if flag.value]
  if len(found) > 1:
    raise UserError(
      'Expected one of --seeds, --dry_run and --dry_run_topology; found '
      f'--{" and --".join(found)}. All seeds take what a dry run without --seeds shows.'
    )
  if _QUICK.value and _TOPOLOGY.value is None:
    raise UserError('--quick: expected --dry_run_topology beside it; found none.')


def _farewell() -> cli.Farewell:
  if flags.FLAGS.is_parsed() and (_DRY_RUN.value or _TOPOLOGY.value):
    return cli.Farewell('Interrupted. Nothing is left of the dry run.')
  return cli.Farewell(cli.RESUMES, terminated=0)


if __name__ == '__main__':
  cli.run(main, farewell=_farewell, compiles=True)
