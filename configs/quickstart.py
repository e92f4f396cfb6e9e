"""The whole method with no download: --config=quickstart.py.

Draws aerial scenes of summer and trains a tiny CLIP on them from random weights, then
draws scenes of winter, freezes the model and adapts it to them with HarMA adapters.
"""

from ml_collections import ConfigDict

from harma_jax.configs.backbones import NARROW_ADAPTERS, scratch
from harma_jax.configs.common import get_config as common


def get_config() -> ConfigDict:
  """Minutes on two CPU cores."""
  config = common()
  config.model.update({'size': 'tiny-16', **NARROW_ADAPTERS})
  config.optimizer.learning_rate = 2e-3
  config.train.update({'epochs': 6.0, 'batch_size': 128})
  config.data.root = '~/.cache/harma_jax/scenes'
  config.data.scenes.update(
    {'style': 'winter', 'train': 600, 'val': 200, 'test': 200, 'seed': 1}
  )
  # The captions name sides, which flips and crops would make false.
  config.augment.update(
    {'crop_scale': (0.9, 1.0), 'flip': False, 'rand_augment': (0, 0)}
  )
  config.pretrain = scratch(epochs=2.0)
  config.pretrain.data = {
    'scenes': {'style': 'summer', 'train': 2200, 'val': 200, 'test': 200, 'seed': 0}
  }
  return config
