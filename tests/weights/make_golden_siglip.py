"""Toy SigLIP and Long-CLIP weights and their features, made by the libraries.

  python tests/weights/make_golden_siglip.py

Writes the `siglip` part of tests/weights/golden. Needs torch, transformers, open_clip
and timm, but no jax. The models are also what tests/weights/test_siglip.py takes.
"""

import json
import unittest.mock

import numpy as np
import torch
from make_golden import GOLDEN, allow_torchvision, open_clip_model, randomised

FOLDER = GOLDEN / 'siglip'
# In the words of harma_jax.model.sizes.Size; towers are (width, layers, heads, MLP).
# The last 3 pixels of a side of 19 are not seen; the MLP is not 4 times as wide.
TOY = {
  'image': (12, 2, 3, 40),
  'text': (12, 3, 2, 40),
  'image_size': 19,
  'patch_size': 8,
  'embedding': 12,
  'context_length': 6,
  'vocabulary': 40,
}
TANH = {True: {'approximate': 'tanh'}, False: None}


def huggingface_model(size, *, seed=0, activation='gelu_pytorch_tanh'):
  """SiglipModel of transformers with random content."""
  allow_torchvision()
  import transformers

  towers = {
    f'{name}_config': {
      'hidden_size': size[tower][0],
      'num_hidden_layers': size[tower][1],
      'num_attention_heads': size[tower][2],
      'intermediate_size': size[tower][3],
      'hidden_act': activation,
    }
    for name, tower in (('vision', 'image'), ('text', 'text'))
  }
  towers['vision_config'] |= {
    'image_size': size['image_size'],
    'patch_size': size['patch_size'],
  }
  towers['text_config'] |= {
    'max_position_embeddings': size['context_length'],
    'vocab_size': size['vocabulary'],
    'projection_size': size['embedding'],
    'bos_token_id': 0,
    'eos_token_id': 1,
    'pad_token_id': 1,
  }
  model = transformers.SiglipModel(transformers.SiglipConfig(**towers))
  return randomised(model, seed=seed)


def open_clip_config(size, *, timm_model, tanh):
  """The `model_cfg` of a size; `tanh`: which GELU its texts have."""
  text = size['text']
  return {
    'embed_dim': size['embedding'],
    'init_logit_bias': -10,
    'vision_cfg': {
      'image_size': size['image_size'],
      'timm_model_name': timm_model,
      'timm_pool': 'map',
      'timm_proj': 'none',
    },
    'text_cfg': {
      'context_length': size['context_length'],
      'vocab_size': size['vocabulary'],
      'width': text[0],
      'layers': text[1],
      'heads': text[2],
      'mlp_ratio': text[3] / text[0],
      'no_causal_mask': True,
      'proj_bias': True,
      'pool_type': 'last',
      'norm_kwargs': {'eps': 1e-6},
      'act_kwargs': TANH[tanh],
    },
  }


def siglip_of_open_clip(size, *, timm_model, tanh, seed=0):
  """OpenCLIP's model with a small timm tower of a kind, and random content."""
  allow_torchvision()
  import open_clip
  import timm

  image, make = size['image'], timm.create_model

  def make_small(name, **settings):
    return make(
      name,
      embed_dim=image[0],
      depth=image[1],
      num_heads=image[2],
      mlp_ratio=image[3] / image[0],
      img_size=size['image_size'],
      patch_size=size['patch_size'],
      **settings,
    )

  config = open_clip_config(size, timm_model=timm_model, tanh=tanh)
  with unittest.mock.patch('timm.create_model', make_small):
    return randomised(open_clip.CustomTextCLIP(**config), seed=seed)


def long_clip_model(size, *, seed=0):
  """A CLIP of QuickGELU, and its state under Long-CLIP's names, as Long-CLIP keeps it.

  The second table holds the rows from 20 on, and other numbers before, which the model
  does not use; the first likewise.
  """
  model = open_clip_model(size, quick_gelu=True, seed=seed)
  state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
  table = state['positional_embedding']
  first, rest = torch.full_like(table, 7.0), torch.full_like(table, -7.0)
  first[:20], rest[20:] = table[:20], table[20:]
  return model, state | {
    'positional_embedding': first,
    'positional_embedding_res': rest,
  }


def inputs_of(size, *, n=3, seed=1):
  """Images f32[n, 3, side, side] and tokens i64[n, L], padded with 1 as by SigLIP."""
  rng = np.random.default_rng(seed)
  side, context = size['image_size'], size['context_length']
  images = rng.standard_normal((n, 3, side, side), np.float32)
  tokens = rng.integers(2, size['vocabulary'], (n, context))
  for row, length in zip(tokens, rng.integers(1, context + 1, n), strict=True):
    row[length:] = 1
  return images, tokens


def features_of(model, images, tokens):
  """Unit features [n, D] of images and texts, torch tensors with their graph."""
  images, tokens = torch.from_numpy(images), torch.from_numpy(tokens)
  if hasattr(model, 'vision_model'):
    found = model(input_ids=tokens, pixel_values=images)
    return found.image_embeds, found.text_embeds
  return (
    model.encode_image(images, normalize=True),
    model.encode_text(tokens, normalize=True),
  )


def main():
  """Writes weights and configs, a folder a library, and the features of them all."""
  from safetensors.torch import save_file

  images, tokens = inputs_of(TOY)
  arrays = {'size': json.dumps(TOY), 'images': images, 'tokens': tokens}
  made = {
    'huggingface': huggingface_model(TOY),
    'open_clip': siglip_of_open_clip(
      TOY, timm_model='vit_base_patch16_siglip_224', tanh=True, seed=1
    ),
  }
  for name, model in made.items():
    (FOLDER / name).mkdir(parents=True, exist_ok=True)
    found = [part.detach().numpy() for part in features_of(model, images, tokens)]
    arrays[f'{name}/image'], arrays[f'{name}/text'] = found
  made['huggingface'].save_pretrained(FOLDER / 'huggingface')
  save_file(
    made['open_clip'].state_dict(), FOLDER / 'open_clip/open_clip_model.safetensors'
  )
  config = open_clip_config(TOY, timm_model='vit_base_patch16_siglip_224', tanh=True)
  text = json.dumps({'model_cfg': config}, indent=2) + '\n'
  (FOLDER / 'open_clip/open_clip_config.json').write_text(text)
  np.savez_compressed(FOLDER / 'features.npz', **arrays)


if __name__ == '__main__':
  main()
