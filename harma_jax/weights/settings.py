"""What tensors do not show: activation, heads, cleaning of captions; from configs."""

import json
import pathlib

from harma_jax.data.cleaning import CLEANINGS
from harma_jax.errors import UserError

OURS = 'harma_jax'  # in configs of other programs, which pass over it


def read_settings(path: pathlib.Path | None) -> dict[str, str | int]:
  """`Source.settings` out of the config of OpenCLIP, transformers or our own export.

  Raises:
    UserError: the config asks for what this CLIP does not compute.
  """
  config = _read_json(path) if path else {}
  if config.get('model_type') == 'harma':
    names = ('activation', 'image_heads', 'text_heads', 'adapter_padding')
    return {name: config[name] for name in names}
  if 'model_cfg' in config:
    return _open_clip_settings(config['model_cfg'], path=path)
  if 'vision_config' in config:
    return _huggingface_settings(config, path=path)
  return {}


def read_cleaning(path: pathlib.Path | None) -> str:
  """How the captions of weights were cleaned, of a config that we wrote; else ''."""
  ours = _read_json(path).get(OURS) if path else None
  return ours.get('cleaning', '') if isinstance(ours, dict) else ''


def check_cleaning(found: str, *, path: str | pathlib.Path) -> None:
  """Raises UserError unless `found`, which `path` says, is one of `CLEANINGS`."""
  if found not in CLEANINGS:
    raise UserError(
      f'Expected captions cleaned in one of the ways {", ".join(CLEANINGS)}; found '
      f'{found!r} in {path}. Use the harma_jax that wrote it.'
    )


def _read_json(path: pathlib.Path) -> dict:
  try:
    return dict(json.loads(path.read_text()))
  except (OSError, ValueError, TypeError) as error:
    raise UserError(f'init: expected a readable config; {path}: {error}.') from error


def _open_clip_settings(config: dict, *, path: pathlib.Path) -> dict[str, str | int]:
  image, text = config.get('vision_cfg', {}), config.get('text_cfg', {})
  only = {
    'pool_type': ('tok', 'argmax', 'eos'),
    'no_causal_mask': (False,),
    'final_ln_after_pool': (False,),
    'act_kwargs': (None, {}),
    'norm_kwargs': (None, {}),
  }
  for tower in (image, text):
    _check_only(tower, only, path=path)
  return {
    'activation': 'quick_gelu' if config.get('quick_gelu') else 'gelu',
    'image_heads': image.get('width', 768) // image.get('head_width', 64),
    'text_heads': text.get('heads', 8),
  }


def _huggingface_settings(config: dict, *, path: pathlib.Path) -> dict[str, str | int]:
  # transformers may leave out what is its default.
  image = {'num_attention_heads': 12, 'hidden_act': 'quick_gelu'}
  image |= config['vision_config']
  text = {'num_attention_heads': 8, 'hidden_act': 'quick_gelu'}
  text |= config.get('text_config') or {}
  only = {'hidden_act': ('gelu', 'quick_gelu'), 'layer_norm_eps': (1e-5,)}
  _check_only(image, only, path=path)
  _check_only(text, only | {'hidden_act': (image['hidden_act'],)}, path=path)
  return {
    'activation': image['hidden_act'],
    'image_heads': image['num_attention_heads'],
    'text_heads': text['num_attention_heads'],
  }


def _check_only(tower: dict, only: dict[str, tuple], *, path: pathlib.Path) -> None:
  for name, values in only.items():
    if name in tower and tower[name] not in values:
      raise UserError(
        f'init: expected a CLIP with {name} {" or ".join(map(repr, values))}, the only '
        f'one that harma_jax computes; found {tower[name]!r} in {path}. Take other '
        'weights.'
      )
