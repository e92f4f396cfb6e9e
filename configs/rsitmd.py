"""RSITMD: --config=rsitmd.py[:BACKBONE], with --config.data.root.

The backbones are those of `backbones.BACKBONES`.
"""

from harma_jax.configs.backbones import set_backbone
from harma_jax.configs.common import get_config as common


def get_config(backbone: str = 'clip'):
  """The released setting on RSITMD; 50 epochs from LAION's CLIP."""
  config = common()
  config.data.cleaning = 'released'
  return set_backbone(config, backbone, clip_epochs=50.0)
