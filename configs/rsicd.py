"""RSICD: --config=rsicd.py[:clip|georsclip|tiny], with --config.data.root."""

from harma_jax.configs.backbones import set_backbone
from harma_jax.configs.common import get_config as common


def get_config(backbone: str = 'clip'):
  """The released setting on RSICD; 10 epochs from LAION's CLIP."""
  config = common()
  config.data.cleaning = 'released'
  return set_backbone(config, backbone, clip_epochs=10.0)
