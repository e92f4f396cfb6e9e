"""The batch of a config on the devices that there are."""

from absl import logging
from ml_collections import ConfigDict

from harma_jax.devices.mesh import nearest_multiple

ROUNDINGS = ('none', 'nearest')


def fit_batch(config: ConfigDict, *, count: int) -> ConfigDict:
  """`config` with the nearest `train.batch_size` that divides the devices.

  Only with `train.batch_rounding=nearest`, which `--config.train.batch_size=auto:428`
  sets beside the number; else, and where they divide it as it is, `config` itself.

  Args:
    config: of a stage.
    count: of all devices of all processes.
  """
  size = config.train.batch_size
  near = nearest_multiple(size, of=count)
  if config.train.batch_rounding != 'nearest' or near == size:
    return config
  logging.info('train.batch_size=%d becomes %d, for %d devices', size, near, count)
  config = config.copy_and_resolve_references()
  config.train.batch_size = near
  return config
