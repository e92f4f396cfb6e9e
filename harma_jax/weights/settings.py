"""What tensors do not show: activation, heads, what images and captions undergo."""

import json
import pathlib
import re

from harma_jax.data.cleaning import CLEANINGS
from harma_jax.errors import UserError
from harma_jax.model.families import CLIP, SIGLIP
from harma_jax.model.preprocessing import INTERPOLATIONS, OPENAI, Preprocessing

OURS = 'harma_jax'  # in configs of other programs, which pass over it


def read_settings(path: pathlib.Path | None) -> dict[str, str | int]:
  """`Source.settings` out of the config of OpenCLIP, transformers or our own export.

  Raises:
    UserError: the config asks for what this CLIP does not compute.
  """
  config = _read_json(path) if path else {}
  if config.get('model_type') == 'harma':
    names = ('activation', 'image_heads', 'text_heads', 'adapter_padding')
    if config.get('family', 'clip') == 'siglip':
      names = (*names, 'image_size', 'text_activation')
    return {name: config[name] for name in names if config[name]}
  if 'model_cfg' in config:
    if 'timm_model_name' in config['model_cfg'].get('vision_cfg', {}):
      return _timm_settings(config['model_cfg'], path=path)
    return _open_clip_settings(config['model_cfg'], path=path)
  if config.get('model_type') == 'siglip':
    return _siglip_settings(config, path=path)
  if 'vision_config' in config:
    return _huggingface_settings(config, path=path)
  return {}


def read_cleaning(path: pathlib.Path | None) -> str:
  """How the captions of weights were cleaned, of a config that we wrote; else ''."""
  ours = _read_json(path).get(OURS) if path else None
  return ours.get('cleaning', '') if isinstance(ours, dict) else ''


def read_preprocessing(path: pathlib.Path | None) -> Preprocessing | None:
  """What images undergo, by the config of weights or the processor's beside it.

  Whatever it says of a crop, here the whole image is resized.

  Returns:
    None where nothing tells it.

  Raises:
    UserError: a resize or constants that harma_jax does not compute.
  """
  if path is None:
    return None
  found = _read_json(path).get('preprocess_cfg')
  for name in PROCESSOR_FILES:
    if not found and path.with_name(name).is_file():
      path = path.with_name(name)
      found = _read_json(path)
      found = found.get('image_processor', found)
  if not found:
    return None
  mean, std = (
    found.get(name, found.get(f'image_{name}', getattr(OPENAI, name)))
    for name in ('mean', 'std')
  )
  how = found.get('interpolation', found.get('resample', OPENAI.interpolation))
  return _preprocessing(mean, std, _PILLOW.get(how, how), path=path)


PROCESSOR_FILES = ('preprocessor_config.json', 'processor_config.json')
_PILLOW = {2: 'bilinear', 3: 'bicubic'}


def _preprocessing(
  mean: object, std: object, interpolation: object, *, path: pathlib.Path
) -> Preprocessing:
  fits = interpolation in INTERPOLATIONS and all(
    isinstance(three, list | tuple)
    and len(three) == 3
    and all(isinstance(value, int | float) for value in three)
    for three in (mean, std)
  )
  if not fits or min(std) <= 0:
    raise UserError(
      'init: expected images with a mean and a standard deviation (above 0) of three '
      f'numbers, resized {" or ".join(INTERPOLATIONS)}; found mean={mean}, std={std}, '
      f'interpolation={interpolation} in {path}. Take other weights, or the weight '
      'file alone in a folder, with --config.model.size=NAME and how images were '
      'resized in training.'
    )
  return Preprocessing(
    mean=tuple(map(float, mean)),
    std=tuple(map(float, std)),
    interpolation=interpolation,
  )


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
    _check_only(tower, only, path=path, family=CLIP.name)
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
  _check_only(image, only, path=path, family=CLIP.name)
  _check_only(
    text, only | {'hidden_act': (image['hidden_act'],)}, path=path, family=CLIP.name
  )
  return {
    'activation': image['hidden_act'],
    'image_heads': image['num_attention_heads'],
    'text_heads': text['num_attention_heads'],
  }


def _siglip_settings(config: dict, *, path: pathlib.Path) -> dict[str, str | int]:
  """Of transformers, which may leave out what is its default."""
  default = {'num_attention_heads': 12, 'hidden_act': 'gelu_pytorch_tanh'}
  image = default | {'image_size': 224} | (config.get('vision_config') or {})
  text = default | (config.get('text_config') or {})
  only = {'hidden_act': tuple(_HUGGING_FACE_ACTIVATIONS), 'layer_norm_eps': (1e-6,)}
  for tower in (image, text):
    _check_only(tower, only, path=path, family=SIGLIP.name)
  return {
    'activation': _HUGGING_FACE_ACTIVATIONS[image['hidden_act']],
    'text_activation': _HUGGING_FACE_ACTIVATIONS[text['hidden_act']],
    'image_heads': image['num_attention_heads'],
    'text_heads': text['num_attention_heads'],
    'image_size': image['image_size'],
  }


_HUGGING_FACE_ACTIVATIONS = {'gelu': 'gelu', 'gelu_pytorch_tanh': 'gelu_tanh'}
# timm's SigLIP towers with the GELU that they were trained with; the others compute the
# exact one (timm 1.0, `act_layer` of vision_transformer.py).
TIMM_TANH = re.compile(
  'vit_(base_patch32|large_patch16_siglip_512|so400m_patch16|giantopt_patch16).*'
)


def _timm_settings(config: dict, *, path: pathlib.Path) -> dict[str, str | int]:
  """Of OpenCLIP with an image tower of timm; what its texts compute stands there."""
  image, text = config['vision_cfg'], config.get('text_cfg', {})
  tower = image['timm_model_name']
  only = {'timm_pool': ('map',), 'timm_proj': ('none',)}
  _check_only(
    {'timm_pool': '', 'timm_proj': ''} | image, only, path=path, family=SIGLIP.name
  )
  only = {
    'pool_type': ('last',),
    'no_causal_mask': (True,),
    'proj_bias': (True,),
    'act_kwargs': (None, {}, {'approximate': 'none'}, {'approximate': 'tanh'}),
    'norm_kwargs': ({'eps': 1e-6},),
  }
  given = dict.fromkeys(('pool_type', 'no_causal_mask', 'proj_bias', 'norm_kwargs'))
  _check_only(given | text, only, path=path, family=SIGLIP.name)
  is_tanh = (text.get('act_kwargs') or {}).get('approximate') == 'tanh'
  return {
    'activation': 'gelu_tanh' if TIMM_TANH.fullmatch(tower) else 'gelu',
    'text_activation': 'gelu_tanh' if is_tanh else 'gelu',
    'text_heads': text.get('heads', 8),
    'image_size': image.get('image_size', 224),
  }


def _check_only(
  tower: dict, only: dict[str, tuple], *, path: pathlib.Path, family: str
) -> None:
  for name, values in only.items():
    if name in tower and tower[name] not in values:
      raise UserError(
        f'init: expected a {family} with {name} {" or ".join(map(repr, values))}, the '
        f'only one that harma_jax computes; found {tower[name]!r} in {path}. Take '
        'other weights.'
      )
