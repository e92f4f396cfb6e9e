"""The backbones that a config's argument chooses, with their training settings."""

import functools

from ml_collections import ConfigDict

from harma_jax.errors import UserError

# The tiny towers are 128 wide; these adapters are narrower, as they are on large ones.
NARROW_ADAPTERS = {'bottleneck': 64, 'shared_bottleneck': 32, 'adapter_heads': 4}


def set_backbone(config: ConfigDict, name: str, *, clip_epochs: float) -> ConfigDict:
  """Sets weights, size and the released learning rate and epochs of a backbone.

  Args:
    config: changed in place.
    name: of `BACKBONES`: `clip` (LAION-2B ViT-B/32), `georsclip` (QuickGELU; its file,
      as published, is looked for in the current folder), `siglip2` (so400m/16, 256 px),
      `siglip2-base` (B/16), `git-rsclip` (SigLIP B/16 of Git-10M; its side, 256 or 224
      px, and what images undergo are read off the weights), `farslip` (its 2nd stage,
      B/16; the names as in its README and 248 tokens are assumed), or, trained from
      scratch first, `tiny` and `tiny-siglip`.
    clip_epochs: how long the released code trains on this data set from `clip`.

  Raises:
    UserError: another name.
  """
  if name not in BACKBONES:
    raise UserError(
      f'--config=FILE.py:BACKBONE: expected one of {", ".join(BACKBONES)}; '
      f'found {name!r}.'
    )
  config.train.batch_rounding = 'nearest'  # 428 are not a multiple of 8
  BACKBONES[name](config, clip_epochs)
  return config


def _hub(config: ConfigDict, epochs: float, *, init: str) -> None:
  """Weights of the hub; all but LAION's with what HarMA was released with for it."""
  config.init = init
  config.train.epochs = epochs


def _georsclip(config: ConfigDict, _: float) -> None:
  config.init = 'RS5M_ViT-B-32_RET-2.pt'
  config.model.size = 'ViT-B-32-quickgelu'
  config.optimizer.learning_rate = 4e-6
  config.train.epochs = 80.0


def _farslip(config: ConfigDict, epochs: float) -> None:
  _hub(config, epochs, init='ZhenShiL/FarSLIP/FarSLIP2_ViT-B-16.pt')
  config.model.size = 'ViT-B-16-quickgelu,context_length=248'


def _tiny(config: ConfigDict, _: float, *, size: str = 'tiny') -> None:
  config.model.update({'size': size, **NARROW_ADAPTERS})
  config.train.update({'epochs': 2.0, 'batch_size': 256})
  config.data.cache_side = 96  # the smallest crop of 64 px images is not enlarged
  config.augment.update({'quarter_turns': True, 'rand_augment': (0, 0)})
  config.pretrain = scratch(epochs=5.0)


def _tiny_siglip(config: ConfigDict, epochs: float) -> None:
  _tiny(config, epochs, size='tiny-siglip')
  config.data.long_texts = 'cut'  # as those of `tiny`; it is trained with cut ones
  config.pretrain.optimizer.clip_norm = 1.0  # as big_vision trains SigLIP


def scratch(*, epochs: float) -> ConfigDict:
  """What a run differs in that first trains the whole model from random weights."""
  return ConfigDict(
    {
      'model': {'adapters': 'none'},
      'objective': {'triplet_weight': 0.0},
      'optimizer': {
        'train': 'full',
        'learning_rate': 1e-3,
        'schedule': 'cosine',
        'weight_decay': 0.1,
      },
      'train': {'epochs': epochs},
    }
  )


BACKBONES = {
  'clip': functools.partial(_hub, init='laion/CLIP-ViT-B-32-laion2B-s34B-b79K'),
  'georsclip': _georsclip,
  'siglip2': functools.partial(_hub, init='google/siglip2-so400m-patch16-256'),
  'siglip2-base': functools.partial(_hub, init='google/siglip2-base-patch16-256'),
  'git-rsclip': functools.partial(_hub, init='lcybuaa/Git-RSCLIP-base'),
  'farslip': _farslip,
  'tiny': _tiny,
  'tiny-siglip': _tiny_siglip,
}
