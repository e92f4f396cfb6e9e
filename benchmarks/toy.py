"""The smallest run, for what does not depend on the model: --config=benchmarks/toy.py.

A projection is trained on random weights; no data set is named.
"""

from ml_collections import ConfigDict

from harma_jax.configs.common import get_config as common


def get_config() -> ConfigDict:
  """A step of a few milliseconds that compiles in a few seconds."""
  config = common()
  config.model.update({'size': 'tiny-16', 'image_size': 16, 'adapters': 'none'})
  config.objective.triplet_weight = 0.0
  config.optimizer.train = 'projection'
  config.train.batch_size = config.evaluation.batch_size = 8
  config.log_every = 1
  return config
