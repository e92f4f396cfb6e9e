"""HarMA, its ablations, and other methods: --config=configs/methods.py:METHOD.

On RSICD with the tiny backbone; `set_method` serves every other config.
"""

from ml_collections import ConfigDict

from configs.rsicd import get_config as rsicd
from harma_jax.errors import UserError

# Which fields make a method. The learning rate stays that of the config: compare each
# method at its own best one.
METHODS = {
  'zero_shot': {
    'model.adapters': 'none',
    'optimizer.train': 'projection',
    'train.epochs': 0.0,
  },
  'linear_probe': {'model.adapters': 'none', 'optimizer.train': 'projection'},
  'full': {'model.adapters': 'none', 'optimizer.train': 'full'},
  'lora': {'model.adapters': 'lora'},
  'lora_mlp': {'model.adapters': 'lora', 'model.lora.mlp': True},
  'clip_adapter': {'model.adapters': 'clip_adapter'},
  'adaptformer': {'model.adapters': 'adaptformer'},
  'harma': {},
  'harma_without_shared': {'model.shared_adapter': 'none'},
  'harma_without_attention': {'model.adapter_attention': False},
  'harma_without_triplet': {'objective.triplet_weight': 0.0},
}


def get_config(method: str = 'harma') -> ConfigDict:
  """A method on RSICD, from a tiny CLIP that is trained from scratch first."""
  return set_method(rsicd('tiny'), method)


def set_method(config: ConfigDict, name: str) -> ConfigDict:
  """Sets what makes a method; `config`, changed in place, is one for HarMA.

  Raises:
    UserError: an unknown name.
  """
  if name not in METHODS:
    raise UserError(
      f'--config=FILE.py:METHOD: expected one of {", ".join(METHODS)}; found {name!r}.'
    )
  config.update_from_flattened_dict(METHODS[name])
  return config
