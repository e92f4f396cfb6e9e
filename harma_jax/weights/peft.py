"""LoRA in PEFT's folders, on transformers' CLIP and SigLIP: written and read."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator

import numpy as np
import safetensors
from absl import logging

from harma_jax.errors import UserError
from harma_jax.model.clip import Clip
from harma_jax.weights.adapter import (
  CONFIG_FILE,
  WEIGHTS_FILE,
  read_tensors,
  save_tensors,
)
from harma_jax.weights.load import warn_of_cleaning
from harma_jax.weights.names import paths_of, tree_of

# Our place in a block -> the linear layer of transformers that it changes.
MODULES = {
  'attention/lora_query': 'self_attn.q_proj',
  'attention/lora_value': 'self_attn.v_proj',
  'mlp/lora_up': 'mlp.fc1',
  'mlp/lora_down': 'mlp.fc2',
}
_LAYERS = {'image': 'vision_model.encoder.layers', 'text': 'text_model.encoder.layers'}
_FACTORS = {'a': 'lora_A', 'b': 'lora_B'}
_PREFIX = 'base_model.model.'
# What a config may say without a change of what is computed; all else must be empty.
_SETTLED = {
  *('peft_type', 'r', 'lora_alpha', 'target_modules', 'exclude_modules'),
  *('task_type', 'auto_mapping', 'peft_version', 'base_model_name_or_path'),
  *('revision', 'inference_mode', 'lora_dropout', 'megatron_core'),
  *('qalora_group_size', 'layers_pattern', 'runtime_config'),
}
# Values besides empty ones that are usual, and change nothing in what was trained.
_USUAL = {'bias': ('none',), 'init_lora_weights': (True, 'gaussian')}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Factor:
  """A factor of ours and its tensors in PEFT's file, one a layer."""

  path: str
  place: str
  names: tuple[str, ...]


def write_peft(
  folder: pathlib.Path, params: dict, *, model: Clip, cleaning: str, base: str
) -> None:
  """Writes LoRA alone, f32: `peft.PeftModel.from_pretrained(model, folder)`.

  Args:
    folder: made here.
    params: of `model`.
    model: has LoRA.
    cleaning: of the captions in training; stands in the metadata of the weights.
    base: where the backbone is from, as `CLIPModel` or `SiglipModel`; '' for unknown.
  """
  folder.mkdir(parents=True)
  leaves = paths_of(params)
  tensors = {}
  for factor in _factors(model):
    leaf = np.asarray(leaves[factor.path], np.float32)
    # [layers, inputs, outputs] there, [outputs, inputs] in PyTorch.
    layers = zip(factor.names, leaf.transpose(0, 2, 1), strict=True)
    tensors |= {name: np.array(layer, order='C') for name, layer in layers}
  save_tensors(folder / WEIGHTS_FILE, tensors, cleaning=cleaning)
  text = json.dumps(_config(model, base=base), indent=2)
  (folder / CONFIG_FILE).write_text(text + '\n')


def is_peft(folder: str | pathlib.Path) -> bool:
  """Whether a folder of adapters has PEFT's config."""
  try:
    config = json.loads((pathlib.Path(folder).expanduser() / CONFIG_FILE).read_text())
  except (OSError, ValueError):
    return False
  return isinstance(config, dict) and 'peft_type' in config


def load_peft(
  folder: str | pathlib.Path, params: dict, *, model: Clip, cleaning: str
) -> tuple[dict, dict]:
  """`params` with the LoRA of a folder of PEFT, and a record of it.

  A place of a tower that its targets leave out stays as it is, which changes nothing.

  Args:
    folder: with `adapter_config.json`, for which `is_peft`, and weights.
    params: of `model`.
    model: what the LoRA is for.
    cleaning: of captions here; where our export tells another one, that is warned of.

  Raises:
    UserError: options of PEFT that are not computed here; another rank, scale or other
      targets than the model's; tensors that are missing, unexpected, of another shape.
  """
  folder = pathlib.Path(folder).expanduser()
  config = json.loads((folder / CONFIG_FILE).read_text())
  _check_options(config, folder=folder)
  tensors = read_tensors(folder)
  with safetensors.safe_open(folder / WEIGHTS_FILE, framework='numpy') as file:
    trained = (file.metadata() or {}).get('cleaning', '')
  warn_of_cleaning(trained, cleaning=cleaning, source=folder)
  _check_settings(config, set(tensors), model=model, folder=folder)
  leaves = dict(paths_of(params))
  leaves |= dict(_read_factors(tensors, leaves, model=model, folder=folder))
  base = config.get('base_model_name_or_path') or ''
  return tree_of(leaves), {'path': str(folder), 'base': base}


def _read_factors(
  tensors: dict, leaves: dict, *, model: Clip, folder: pathlib.Path
) -> Iterator[tuple[str, np.ndarray]]:
  """Our paths and leaves, f32, out of all tensors of a file."""
  factors = list(_factors(model))
  there = {factor.place for factor in factors if set(factor.names) & set(tensors)}
  factors = [factor for factor in factors if factor.place in there]
  wanted = {name for factor in factors for name in factor.names}
  missing, unexpected = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted)
  if missing or unexpected or not there:
    raise UserError(
      f'adapter: expected the LoRA of a CLIP or a SigLIP of transformers in {folder}; '
      f'missing: {_some(missing)}; unexpected: {_some(unexpected)}. Take LoRA whose '
      f'target_modules are of {", ".join(m.split(".")[1] for m in MODULES.values())} '
      "in the towers' blocks."
    )
  logging.info('%s: LoRA for %s', folder, ', '.join(sorted(there)))
  for factor in factors:
    layers = [np.asarray(tensors[name], np.float32).T for name in factor.names]
    shape = leaves[factor.path].shape
    if {layer.shape for layer in layers} != {shape[1:]}:
      found = sorted({layer.shape for layer in layers})
      raise UserError(
        f'adapter: expected {factor.names[0]} and the same of all layers as '
        f'{shape[1:]}, [inputs, outputs]; found {found} in {folder}. Set '
        '--config.init and --config.model.size to the backbone that it is for.'
      )
    yield factor.path, np.stack(layers)


def _factors(model: Clip) -> Iterator[Factor]:
  """All factors of a model with LoRA."""
  for tower, base in _LAYERS.items():
    for place, module in MODULES.items():
      if place.startswith('mlp') and not model.adapter.mlp:
        continue
      for ours, theirs in _FACTORS.items():
        yield Factor(
          path=f'{tower}/transformer/blocks/{place}/{ours}/kernel',
          place=f'{tower}/{place}',
          names=tuple(
            f'{_PREFIX}{base}.{layer}.{module}.{theirs}.weight'
            for layer in range(getattr(model.size, tower).layers)
          ),
        )


def _config(model: Clip, *, base: str) -> dict:
  modules = [m for m in MODULES.values() if model.adapter.mlp or m.startswith('self')]
  parts = '|'.join(module.replace('.', r'\.') for module in modules)
  return {
    'peft_type': 'LORA',
    'task_type': None,
    'base_model_name_or_path': base or None,
    'inference_mode': True,
    'r': model.adapter.rank,
    'lora_alpha': model.adapter.alpha,
    'lora_dropout': 0.0,
    'bias': 'none',
    'fan_in_fan_out': False,
    # A whole name: SigLIP's head has an MLP too, whose layers are called alike.
    'target_modules': rf'.*_model\.encoder\.layers\.\d+\.({parts})',
  }


def _check_options(config: dict, *, folder: pathlib.Path) -> None:
  refused = {
    name: value
    for name, value in config.items()
    if name not in _SETTLED and value and value not in _USUAL.get(name, ())
  }
  kind = config['peft_type']
  if kind != 'LORA':
    refused = {'peft_type': kind}
  if refused:
    found = ', '.join(f'{name}={value!r}' for name, value in refused.items())
    raise UserError(
      'adapter: expected plain LoRA of PEFT, the only one that harma_jax computes; '
      f'found {found} in {folder / CONFIG_FILE}. Merge it into its model in PEFT '
      '(merge_and_unload), save that, and set --config.init to it.'
    )


def _check_settings(
  config: dict, names: set[str], *, model: Clip, folder: pathlib.Path
) -> None:
  """Compares the model with what the config and the names of tensors tell."""
  told = {
    'adapters': 'lora',
    'lora.rank': config.get('r'),
    'lora.alpha': config.get('lora_alpha'),
    'lora.mlp': any('.layers.' in name and '.mlp.' in name for name in names),
  }
  found = {'adapters': model.adapter.kind if model.adapter else 'none'}
  if found['adapters'] == 'lora':
    own = dataclasses.asdict(model.adapter)
    found |= {f'lora.{name}': value for name, value in own.items()}
  if found != told:
    flags = ' '.join(f'--config.model.{name}={value}' for name, value in told.items())
    here = ', '.join(f'model.{name}={value}' for name, value in found.items())
    raise UserError(
      f'adapter: expected a model for the LoRA of {folder}; found {here}. Set {flags}.'
    )


def _some(names: list[str], *, most: int = 4) -> str:
  more = f' and {len(names) - most} more' if len(names) > most else ''
  return (', '.join(names[:most]) or 'none') + more
