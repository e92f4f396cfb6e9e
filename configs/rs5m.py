"""RS5M: --config=rs5m.py[:BACKBONE], with --config.data.root.

The root is what `data prepare` made of its tars, on a disk that all hosts of the run
see. For others of this size too: img2dataset's shards, copies of the hub.
"""

from harma_jax.configs.backbones import set_backbone
from harma_jax.configs.common import get_config as common


def get_config(backbone: str = 'clip'):
  """One epoch of millions of pairs; each host reads its part of every batch."""
  config = common()
  config.train.batch_size = 8192
  config.data.update({'cache': 'stream', 'workers': 8, 'test_split': ''})
  config.evaluation.every_epochs = 0.1
  config.checkpoint.every_steps = 200  # so many are done again after a stop at most
  return set_backbone(config, backbone, clip_epochs=1.0)
