"""Measures the speed of a config: its step, input and evaluation.

Prints one JSON object and, on standard error, one line. Weights are random;
--mode=step takes random pairs and needs no data set. With train.steps_per_dispatch
above 1 so many steps are one program, and --steps and --warmup count programs.

Examples:
  harma-jax bench --config=quickstart.py
  harma-jax bench --config=rsicd.py --config.data.root=DATA --mode=train
"""

import json
from collections.abc import Sequence

from absl import flags, logging

from harma_jax import cli
from harma_jax.speed.report import MODES, measure, summary

_CONFIG = cli.shared_flag('config')
_OUT = cli.shared_flag('out')
_MODE = flags.DEFINE_enum(
  'mode',
  'step',
  list(MODES),
  'step: random pairs on the device; pipeline: training batches on the host; '
  'train: both; eval: encoding of the validation split.',
)
_STEPS = flags.DEFINE_integer('steps', 20, 'How many are timed.', lower_bound=1)
_WARMUP = flags.DEFINE_integer('warmup', 2, 'How many before.', lower_bound=0)


def main(argv: Sequence[str]) -> None:
  """Measures what the command line names."""
  cli.no_arguments(argv)
  config, _ = cli.read_config_flag(_CONFIG.name)
  found = measure(config, mode=_MODE.value, steps=_STEPS.value, warmup=_WARMUP.value)
  logging.info('%s', summary(found))
  print(json.dumps(found, indent=2))
  if _OUT.value:
    cli.write_json(_OUT, found)


if __name__ == '__main__':
  cli.run(main)
