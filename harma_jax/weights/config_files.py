"""Configs that other programs read beside weights, out of a size."""

import dataclasses

from harma_jax.errors import UserError
from harma_jax.model.clip import FIRST_BIAS, Clip
from harma_jax.model.families import CLIP
from harma_jax.model.sizes import Size, TowerSize
from harma_jax.weights.adapter import settings_of
from harma_jax.weights.settings import TIMM_TANH

# timm's image towers of SigLIP: (width, layers, heads, patch) -> the word, the sides.
TIMM_TOWERS = {
  (768, 12, 12, 32): ('base', (256,)),
  (768, 12, 12, 16): ('base', (224, 256, 384, 512)),
  (1024, 24, 16, 16): ('large', (256, 384, 512)),
  (1152, 27, 16, 14): ('so400m', (224, 378, 384)),
  (1152, 27, 16, 16): ('so400m', (256, 384, 512)),
  (1536, 40, 16, 16): ('giantopt', (256, 384)),
}
HUGGING_FACE_ACTIVATIONS = {'gelu_tanh': 'gelu_pytorch_tanh'}


def open_clip_config(size: Size) -> dict:
  """What `open_clip_config.json` holds.

  Raises:
    UserError: a SigLIP of a size that timm, which OpenCLIP builds it of, does not have.
  """
  config = _open_clip_of_clip(size) if size.family is CLIP else _open_clip_siglip(size)
  # `squash` resizes the whole image, as our evaluation does; the default would crop.
  preprocess = {
    'size': size.image_size,
    **dataclasses.asdict(size.preprocessing),
    'resize_mode': 'squash',
  }
  return {'model_cfg': config, 'preprocess_cfg': preprocess}


def _open_clip_of_clip(size: Size) -> dict:
  image = size.image
  config = {
    'embed_dim': size.embedding,
    'vision_cfg': {
      'image_size': size.image_size,
      'layers': image.layers,
      'width': image.width,
      'head_width': image.width // image.heads,
      'patch_size': size.patch_size,
    },
    'text_cfg': _open_clip_text(size),
  }
  if size.activation == 'quick_gelu':
    config['quick_gelu'] = True
  return config


def _open_clip_text(size: Size) -> dict:
  return {
    'context_length': size.context_length,
    'vocab_size': size.vocabulary,
    'width': size.text.width,
    'heads': size.text.heads,
    'layers': size.text.layers,
  }


def _open_clip_siglip(size: Size) -> dict:
  text = size.text
  is_tanh = (size.text_activation or size.activation) == 'gelu_tanh'
  of_text = {
    **_open_clip_text(size),
    'hf_tokenizer_name': '.',  # of this folder, which OpenCLIP takes in its place
    'tokenizer_kwargs': {'clean': 'canonicalize'},
    # int(width * ratio) is the MLP's width: half a row more, for rounding.
    'mlp_ratio': 4.0
    if text.inner == 4 * text.width
    else (text.inner + 0.5) / text.width,
    'no_causal_mask': True,
    'proj_bias': True,
    'pool_type': 'last',
    'norm_kwargs': {'eps': size.family.epsilon},
    'act_kwargs': {'approximate': 'tanh' if is_tanh else 'none'},
  }
  return {
    'embed_dim': size.embedding,
    'init_logit_bias': FIRST_BIAS,
    'custom_text': True,
    'vision_cfg': {
      'image_size': size.image_size,
      'timm_model_name': timm_tower(size),
      'timm_model_pretrained': False,
      'timm_pool': 'map',
      'timm_proj': 'none',
    },
    'text_cfg': of_text,
  }


def timm_tower(size: Size) -> str:
  """The name of a SigLIP's image tower in timm, which says all of its shape.

  Raises:
    UserError: timm has none of this shape and side.
  """
  image = size.image
  shape = image.width, image.layers, image.heads, size.patch_size
  word, sides = TIMM_TOWERS.get(shape, ('', ()))
  if size.image_size not in sides:
    raise UserError(
      '--format=open_clip: expected an image tower of SigLIP that timm has, of '
      f'{", ".join(map(str, sides)) or "its"} px; found one of width {image.width}, '
      f'{image.layers} layers, {image.heads} heads, patches of {size.patch_size} and '
      f'{size.image_size} px. Set --format=huggingface, which holds any.'
    )
  return f'vit_{word}_patch{size.patch_size}_siglip_{size.image_size}'


def other_gelu(size: Size) -> bool:
  """Whether OpenCLIP computes another GELU in a SigLIP's image tower than the size."""
  computed = 'gelu_tanh' if TIMM_TANH.fullmatch(timm_tower(size)) else 'gelu'
  return computed != size.activation


def huggingface_config(size: Size, *, logit_scale: float) -> dict:
  """What `config.json` of transformers holds."""
  is_clip = size.family is CLIP
  name = 'clip' if is_clip else 'siglip'
  of_text = _text_of_clip(size) if is_clip else _text_of_siglip(size)
  text = {
    'model_type': f'{name}_text_model',
    'vocab_size': size.vocabulary,
    'max_position_embeddings': size.context_length,
    **of_text,
    **_tower(size.text, size, activation=size.text_activation or size.activation),
  }
  image = {
    'model_type': f'{name}_vision_model',
    'image_size': size.image_size,
    'patch_size': size.patch_size,
    'num_channels': 3,
    **_tower(size.image, size, activation=size.activation),
  }
  config = {
    'architectures': ['CLIPModel' if is_clip else 'SiglipModel'],
    'model_type': name,
    'dtype': 'float32',
    'text_config': text,
    'vision_config': image,
  }
  if is_clip:
    config |= {
      'projection_dim': size.embedding,
      'logit_scale_init_value': logit_scale,
    }
  return config


def _tower(shape: TowerSize, size: Size, *, activation: str) -> dict:
  config = {
    'hidden_size': shape.width,
    'intermediate_size': shape.inner,
    'num_hidden_layers': shape.layers,
    'num_attention_heads': shape.heads,
    'hidden_act': HUGGING_FACE_ACTIVATIONS.get(activation, activation),
    'layer_norm_eps': size.family.epsilon,
    'attention_dropout': 0.0,
  }
  return config | ({'projection_dim': size.embedding} if size.family is CLIP else {})


def _text_of_clip(size: Size) -> dict:
  # The end token has the highest id, 49407 in CLIP's vocabulary; captions are filled up
  # with it, which no layer before the first of them sees.
  end = size.vocabulary - 1
  return {'bos_token_id': end - 1, 'eos_token_id': end, 'pad_token_id': end}


def _text_of_siglip(size: Size) -> dict:
  # Of the two vocabularies: 32,000 words are filled up with 1, Gemma's with 0.
  is_second = size.vocabulary >= 256_000
  return {
    'projection_size': size.embedding,
    'bos_token_id': 2 if is_second else 0,
    'eos_token_id': 1,
    'pad_token_id': 0 if is_second else 1,
  }


def remote_config(model: Clip) -> dict:
  """What `config.json` holds beside the code of HarMA."""
  size = model.size
  return {
    'architectures': ['HarmaModel'],
    'auto_map': {
      'AutoConfig': 'modeling_harma.HarmaConfig',
      'AutoModel': 'modeling_harma.HarmaModel',
    },
    'model_type': 'harma',
    'dtype': 'float32',
    'family': size.family.name.lower(),
    'patch_size': size.patch_size,
    'image_width': size.image.width,
    'image_layers': size.image.layers,
    'image_heads': size.image.heads,
    'image_mlp_width': size.image.mlp_width,
    'text_width': size.text.width,
    'text_layers': size.text.layers,
    'text_heads': size.text.heads,
    'text_mlp_width': size.text.mlp_width,
    'text_activation': size.text_activation or '',
    'embedding': size.embedding,
    'context_length': size.context_length,
    'vocabulary': size.vocabulary,
    **settings_of(model),
  }
