"""Trains and evaluates.

  python -m harma_jax.main --config=configs/rsitmd.py [--workdir=FOLDER]
    [--config.any.field=value]

The same command again resumes.
"""

import pathlib
from collections.abc import Sequence

from ml_collections import config_flags

from harma_jax import cli
from harma_jax.train import train
from harma_jax.workdir import default_workdir

_CONFIG = config_flags.DEFINE_config_file('config', help_string='A file of configs/.')


def main(argv: Sequence[str]) -> None:
  """Runs the config of the command line."""
  cli.no_arguments(argv)
  config, path = cli.read_config_flag(_CONFIG.name)
  train(config, workdir=pathlib.Path(cli.WORKDIR.value or default_workdir(path)))


if __name__ == '__main__':
  cli.run(main, interrupted='Interrupted. The same command resumes.')
