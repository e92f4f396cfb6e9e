"""Measures the speed of a config: its step, input and evaluation.

Prints one JSON object and, on standard error, one line. Weights are random;
--mode=step takes random pairs and needs no data set. With train.steps_per_dispatch
above 1 so many steps are one program, and --steps and --warmup count programs.
--mode=compiled runs nothing: it compiles the step for --targets=v5e:2x2,h200:1 and
whatever --dry_run_topology of `harma-jax train` takes.

Examples:
  harma-jax bench --config=quickstart.py
  harma-jax bench --config=rsicd.py --config.data.root=DATA --mode=train
"""

import json
from collections.abc import Sequence

from absl import flags, logging
from ml_collections import ConfigDict

from harma_jax import cli
from harma_jax.errors import UserError

COMPILED = 'compiled'
MODES = ('step', 'pipeline', 'train', 'eval')

_CONFIG = cli.shared_flag('config')
_OUT = cli.shared_flag('out')
_MODE = flags.DEFINE_enum(
  'mode',
  'step',
  [*MODES, COMPILED],
  'step: random pairs on the device; pipeline: training batches on the host; '
  'train: both; eval: encoding of the validation split; compiled: the step for '
  '--targets, not run.',
)
_STEPS = flags.DEFINE_integer('steps', 20, 'How many are timed.', lower_bound=1)
_WARMUP = flags.DEFINE_integer('warmup', 2, 'How many before.', lower_bound=0)
_TARGETS = flags.DEFINE_list(
  'targets', None, 'With --mode=compiled: v5e:2x2, h200:1, ... as --dry_run_topology.'
)
_BATCHES = flags.DEFINE_list('batches', [], "Default: the config's.")
_LENGTHS = flags.DEFINE_list('lengths', [], 'Of captions. Default: all of a run.')
_REMEDY = flags.DEFINE_bool(
  'remedy', True, 'Looks for settings that fit where a target has no room.'
)


def main(argv: Sequence[str]) -> None:
  """Measures what the command line names."""
  cli.no_arguments(argv)
  config, _ = cli.read_config_flag(_CONFIG.name)
  if _MODE.value == COMPILED:
    found = _compile(config)
  else:
    from harma_jax.speed.report import measure, summary

    found = measure(config, mode=_MODE.value, steps=_STEPS.value, warmup=_WARMUP.value)
    logging.info('%s', summary(found))
  print(json.dumps(found, indent=2))
  if _OUT.value:
    cli.write_json(_OUT, found)


def _compile(config: ConfigDict) -> dict:
  if not _TARGETS.value:
    raise UserError(
      '--mode=compiled: expected devices to compile for; found none. Give --targets, '
      'as in --targets=v5e:2x2,h200:1.'
    )
  from harma_jax.devices.targets import read_topology
  from harma_jax.rehearsal.grid import measure_compiled

  return measure_compiled(
    config,
    topologies=[read_topology(text, flag='--targets') for text in _TARGETS.value],
    batches=_numbers(_BATCHES),
    lengths=_numbers(_LENGTHS),
    remedy=_REMEDY.value,
  )


def _numbers(flag: flags.FlagHolder) -> list[int]:
  if not all(word.isdecimal() and int(word) for word in flag.value):
    raise UserError(
      f'--{flag.name}: expected numbers above 0, as in 128,256; found '
      f'{",".join(flag.value)!r}.'
    )
  return [int(word) for word in flag.value]


if __name__ == '__main__':
  cli.run(main)
