"""Toy weights and their features, made by OpenCLIP and transformers themselves.

  python tests/weights/make_golden.py

Writes tests/weights/golden. Needs torch, transformers and open_clip, but no jax. The
models with random content are also what tests/weights/test_interop.py takes.
"""

import json
import pathlib
import zipfile

import numpy as np
import torch

GOLDEN = pathlib.Path(__file__).parent / 'golden'
# In the words of harma_jax.model.sizes.Size; its towers are (width, layers, heads).
TOY = {
  'image': (12, 2, 3),
  'text': (8, 3, 2),
  'image_size': 16,
  'patch_size': 8,
  'embedding': 6,
  'context_length': 6,
  'vocabulary': 40,
}
TORCHVISION_OPERATORS = (
  *('nms', 'qnms', 'roi_align', 'roi_pool', 'ps_roi_align', 'ps_roi_pool'),
  'deform_conv2d',
)
# What it declares is forgotten with it.
TORCHVISION = torch.library.Library('torchvision', 'FRAGMENT')


def allow_torchvision():
  """Lets libraries import a torchvision that was made for CUDA, on a CPU.

  It stops at operators that it does not find there: to declare them is all that its
  import needs, and CLIP uses none.
  """
  try:
    import torchvision  # noqa: F401
  except ImportError:
    return
  except RuntimeError:  # torchvision::nms does not exist
    for name in TORCHVISION_OPERATORS:
      TORCHVISION.define(f'{name}(Tensor x) -> Tensor')
      TORCHVISION.define(f'_{name}_backward(Tensor x) -> Tensor')


def open_clip_config(size, *, quick_gelu):
  """The `model_cfg` of a size."""
  image, text = size['image'], size['text']
  return {
    'embed_dim': size['embedding'],
    'quick_gelu': quick_gelu,
    'vision_cfg': {
      'image_size': size['image_size'],
      'patch_size': size['patch_size'],
      'width': image[0],
      'layers': image[1],
      'head_width': image[0] // image[2],
    },
    'text_cfg': {
      'context_length': size['context_length'],
      'vocab_size': size['vocabulary'],
      'width': text[0],
      'layers': text[1],
      'heads': text[2],
    },
  }


def open_clip_model(size, *, quick_gelu=False, custom_text=False, seed=0):
  """OpenCLIP's model with random content."""
  allow_torchvision()
  import open_clip

  make = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
  return randomised(make(**open_clip_config(size, quick_gelu=quick_gelu)), seed=seed)


def huggingface_model(size, *, activation='quick_gelu', seed=0):
  """The model of transformers with random content."""
  allow_torchvision()
  import transformers

  towers = {
    f'{name}_config': {
      'hidden_size': size[tower][0],
      'intermediate_size': 4 * size[tower][0],
      'num_hidden_layers': size[tower][1],
      'num_attention_heads': size[tower][2],
      'projection_dim': size['embedding'],
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
    'bos_token_id': size['vocabulary'] - 2,
    'eos_token_id': size['vocabulary'] - 1,
  }
  config = transformers.CLIPConfig(**towers, projection_dim=size['embedding'])
  return randomised(transformers.CLIPModel(config), seed=seed)


def randomised(model, *, seed):
  """`model` with random content in every parameter, so that nothing hides."""
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      if not parameter.ndim:
        parameter.fill_(3.5)
        continue
      fan_in = parameter[0].numel()
      deviation = fan_in**-0.5 if parameter.ndim > 1 else 0.2
      parameter.normal_(0, deviation, generator=generator)
      if name.endswith('weight') and parameter.ndim == 1:
        parameter.add_(1)  # of a layer normalisation
  return model.eval()


def inputs_of(size, *, n=3, seed=1):
  """Images f32[n, 3, side, side] and tokens i64[n, L] that end with the highest id."""
  rng = np.random.default_rng(seed)
  side, context = size['image_size'], size['context_length']
  end = size['vocabulary'] - 1
  images = rng.standard_normal((n, 3, side, side), np.float32)
  tokens = rng.integers(1, end - 1, (n, context))
  for row, tail in zip(tokens, rng.integers(2, context, n), strict=True):
    row[0], row[tail], row[tail + 1 :] = end - 1, end, 0
  return images, tokens


@torch.no_grad()
def features_of(model, images, tokens):
  """Unit features f32[n, D] of images and texts, as the library computes them."""
  images, tokens = torch.from_numpy(images), torch.from_numpy(tokens)
  if hasattr(model, 'vision_model'):
    output = model(input_ids=tokens, pixel_values=images)
    features = output.image_embeds, output.text_embeds
  else:
    features = (
      model.encode_image(images, normalize=True),
      model.encode_text(tokens, normalize=True),
    )
  return tuple(part.numpy() for part in features)


def archive(model, path, *, example=None):
  """Writes what OpenAI published of a model: a TorchScript archive in half precision.

  It is traced where example inputs are given. Returns the model as the archive has it,
  computing in f32.
  """
  for parameter in model.parameters():
    parameter.data = parameter.data.half().float()
  script = (
    torch.jit.trace(model, example, check_trace=False)
    if example
    else torch.jit.script(model)
  )
  torch.jit.save(script.half(), str(path))
  return model.float()


def drop_line_tables(path):
  """Rewrites an archive without what only tracebacks need: half of a toy's."""
  with zipfile.ZipFile(path) as archive:
    members = {info: archive.read(info) for info in archive.infolist()}
  with zipfile.ZipFile(path, 'w') as archive:
    for info, content in members.items():
      if not info.filename.endswith('.debug_pkl'):
        archive.writestr(info.filename, content, info.compress_type)


def main():
  """Writes weights and configs, a folder a library, and the features of them all."""
  from safetensors.torch import save_file

  images, tokens = inputs_of(TOY)
  arrays = {'size': json.dumps(TOY), 'images': images, 'tokens': tokens}
  for name in ('open_clip', 'huggingface'):
    (GOLDEN / name).mkdir(parents=True, exist_ok=True)

  model = open_clip_model(TOY)
  save_file(model.state_dict(), GOLDEN / 'open_clip/open_clip_model.safetensors')
  config = {'model_cfg': open_clip_config(TOY, quick_gelu=False)}
  (GOLDEN / 'open_clip/open_clip_config.json').write_text(json.dumps(config, indent=2))
  arrays['open_clip/image'], arrays['open_clip/text'] = features_of(
    model, images, tokens
  )

  model = huggingface_model(TOY, seed=2)
  model.save_pretrained(GOLDEN / 'huggingface')
  arrays['huggingface/image'], arrays['huggingface/text'] = features_of(
    model, images, tokens
  )

  path = GOLDEN / 'openai.pt'
  model = archive(open_clip_model(TOY, quick_gelu=True, seed=3), path)
  drop_line_tables(path)
  arrays['openai/image'], arrays['openai/text'] = features_of(model, images, tokens)
  np.savez_compressed(GOLDEN / 'features.npz', **arrays)


if __name__ == '__main__':
  main()
