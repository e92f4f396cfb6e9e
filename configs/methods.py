"""HarMA, parts of it and other methods: --config=methods.py:METHOD[:CONFIG].

CONFIG is a config of this folder as it is given alone, without its ending: quickstart,
rsitmd:clip; by default rsicd:tiny.
"""

import pathlib

from ml_collections import ConfigDict

from harma_jax.building.config_file import load_config
from harma_jax.errors import UserError

# Which fields make a method of a config for HarMA. The learning rate stays that of the
# config: compare each method at its own best one.
METHODS = {
  'zero_shot': {
    'model.adapters': 'none',
    'optimizer.train': 'none',
    'train.epochs': 0.0,
  },
  'linear_probe': {'model.adapters': 'none', 'optimizer.train': 'projection'},
  'full': {'model.adapters': 'none', 'optimizer.train': 'full'},
  'lora': {'model.adapters': 'lora'},
  'lora_mlp': {'model.adapters': 'lora', 'model.lora.mlp': True},
  'clip_adapter': {'model.adapters': 'clip_adapter'},
  'adaptformer': {'model.adapters': 'adaptformer'},
  'harma': {},
  'harma_no_shared': {'model.shared_adapter': 'none'},
  'harma_no_attention': {'model.adapter_attention': False},
  'harma_no_triplet': {'objective.triplet_weight': 0.0},
}


def get_config(argument: str = 'harma') -> ConfigDict:
  """The method and the config that `METHOD[:CONFIG]` names."""
  method, _, config = argument.partition(':')
  file, *backbone = (config or 'rsicd:tiny').split(':', 1)
  path = pathlib.Path(__file__).with_name(f'{file}.py')
  return set_method(load_config(':'.join([str(path), *backbone])), method)


def set_method(config: ConfigDict, name: str) -> ConfigDict:
  """Sets what makes a method; `config`, changed in place, is one for HarMA.

  Raises:
    UserError: an unknown name.
  """
  if name not in METHODS:
    raise UserError(
      f'--config=methods.py:METHOD: expected one of {", ".join(METHODS)}; '
      f'found {name!r}.'
    )
  config.update_from_flattened_dict(METHODS[name])
  return config
