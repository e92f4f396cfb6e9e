"""SkyScript: --config=skyscript.py[:BACKBONE], with --config.data.root.

Its tables as published, or any of `filepath,title` of that size.
--config.data.columns=caption=title_multi_objects takes the captions that name the
surroundings too.
"""

from harma_jax.configs.backbones import set_backbone
from harma_jax.configs.common import get_config as common

TABLES = (
  'SkyScript_train_top30pct_filtered_by_CLIP_openai.csv',
  'SkyScript_val_5K_filtered_by_CLIP_openai.csv',
  'SkyScript_test_30K_filtered_by_CLIP_openai.csv',
)


def get_config(backbone: str = 'clip'):
  """Five epochs of 1.5 million pairs, whose images are read anew from the disk."""
  config = common()
  config.train.batch_size = 4096
  config.data.annotations = ','.join(TABLES)
  config.data.images = '.'  # paths start at the folder itself
  config.data.update({'cache': 'stream', 'workers': 8})
  config.checkpoint.every_steps = 200
  return set_backbone(config, backbone, clip_epochs=5.0)
