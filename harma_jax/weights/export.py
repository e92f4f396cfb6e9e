"""Parameters to the files of other programs, through the one table of names."""

import contextlib
import dataclasses
import importlib.resources
import json
import pathlib
import tempfile
from collections.abc import Iterator

import numpy as np
import safetensors
from absl import logging

from harma_jax.errors import UserError
from harma_jax.model.clip import Clip
from harma_jax.model.sizes import Size, TowerSize
from harma_jax.weights.adapter import save_tensors, settings_of
from harma_jax.weights.names import give, names_of, paths_of
from harma_jax.weights.processor import write_processor
from harma_jax.weights.settings import OURS

CARD_FILE = 'README.md'
REMOTE_FILE = 'modeling_harma.py'


def tensors_of(params: dict, *, model: Clip, layout: str) -> dict[str, np.ndarray]:
  """All weights in f32 by the names of a program.

  Args:
    params: of `model`, of any float type.
    model: has no adapters, unless the layout is `harma`.
    layout: of `names.LAYOUTS`. Where it has no place for the temperature, that stands
      in the logit scale, as minus its logarithm.
  """
  leaves = dict(paths_of(params))
  if layout != 'harma':
    temperature = np.asarray(leaves.pop('temperature'), np.float32)
    leaves['logit_scale'] = -np.log(temperature)
  names = names_of(
    leaves,
    layout=layout,
    image_layers=model.size.image.layers,
    text_layers=model.size.text.layers,
    shared_adapter=model.shared_adapter if model.adapter else 'none',
  )
  tensors = give(names, leaves, patch=model.size.patch_size)
  return {
    name: np.asarray(tensor, np.float32, order='C') for name, tensor in tensors.items()
  }


def write_harma(
  path: pathlib.Path, params: dict, *, model: Clip, cleaning: str, config: dict
) -> None:
  """Writes a checkpoint of the original HarMA: `.safetensors`, or `.pth` with torch.

  Args:
    path: of the file.
    params: of `model`.
    model: has adapters.
    cleaning: of the captions; stands in the metadata of a `.safetensors`.
    config: of the run, plain values; stands in the `.pth` beside the weights.

  Raises:
    UserError: a `.pth` is wanted and torch is not installed.
  """
  for sentence in departures(model):
    logging.warning('%s', sentence)
  tensors = tensors_of(params, model=model, layout='harma')
  if path.suffix == '.safetensors':
    save_tensors(path, tensors, cleaning=cleaning)
  else:
    _save_pth(path, tensors, config=config)


def departures(model: Clip) -> list[str]:
  """What a model with adapters differs in from the original HarMA, a sentence each."""
  sentences = []
  if model.adapter_padding == 'padding':
    sentences.append(
      'The original HarMA lets adapters see the padding of a caption; this model was '
      'trained without (model.adapter_padding=padding), so the text features that the '
      'original computes from these weights are not those that were evaluated.'
    )
  if model.shared_adapter == 'none':
    sentences.append(
      'The original HarMA has shared adapters; this model has none '
      '(model.shared_adapter=none): load_state_dict(strict=True) will miss them.'
    )
  return sentences


def write_open_clip(
  folder: pathlib.Path, params: dict, *, model: Clip, cleaning: str
) -> None:
  """Writes a folder of OpenCLIP: `create_model_and_transforms('local-dir:FOLDER')`.

  `cleaning` is that of the captions in training.
  """
  folder.mkdir(parents=True)
  tensors = tensors_of(params, model=model, layout='open_clip')
  save_tensors(folder / 'open_clip_model.safetensors', tensors)
  config = _open_clip_config(model.size) | {OURS: {'cleaning': cleaning}}
  _save_json(folder / 'open_clip_config.json', config)


def write_huggingface(
  folder: pathlib.Path,
  params: dict,
  *,
  model: Clip,
  cleaning: str,
  context_length: int = 0,
) -> None:
  """Writes a folder of transformers: `CLIPModel.from_pretrained(folder)`.

  `cleaning` of the captions, and `context_length`, are those of training; 0 is the
  model's own.
  """
  folder.mkdir(parents=True)
  tensors = tensors_of(params, model=model, layout='huggingface')
  save_tensors(folder / 'model.safetensors', tensors)
  config = _huggingface_config(model.size, logit_scale=float(tensors['logit_scale']))
  _save_json(folder / 'config.json', config | {OURS: {'cleaning': cleaning}})
  length = context_length or model.size.context_length
  write_processor(
    folder,
    side=model.size.image_size,
    context_length=length,
    pad_zero=False,
    preprocessing=model.size.preprocessing,
  )


def write_remote(
  folder: pathlib.Path,
  params: dict,
  *,
  model: Clip,
  cleaning: str,
  context_length: int = 0,
) -> None:
  """Writes a folder for transformers with the code of a model with adapters.

  `cleaning` of the captions is that of training, as is `context_length`, which matters
  where adapters see the padding; 0 is the model's own.
  """
  folder.mkdir(parents=True)
  tensors = {
    'clip.' + name.removeprefix('model.') if name.startswith('model.') else name: tensor
    for name, tensor in tensors_of(params, model=model, layout='harma').items()
  }
  save_tensors(folder / 'model.safetensors', tensors)
  config = _remote_config(model) | {OURS: {'cleaning': cleaning}}
  _save_json(folder / 'config.json', config)
  code = importlib.resources.files('harma_jax.weights.remote') / REMOTE_FILE
  (folder / REMOTE_FILE).write_bytes(code.read_bytes())
  length = context_length or model.size.context_length
  write_processor(
    folder,
    side=model.size.image_size,
    context_length=length,
    pad_zero=True,
    preprocessing=model.size.preprocessing,
  )


@contextlib.contextmanager
def replacing(out: pathlib.Path, *, overwrite: bool) -> Iterator[pathlib.Path]:
  """A path to write to instead of `out`; moved there when all is written.

  What is written beside it comes along. Whoever stops in the middle leaves `out` as it
  was.

  Raises:
    UserError: `out` is there and not an empty folder, unless `overwrite` is set and it
      is an earlier export; or it cannot be written.
  """
  check_out(out, overwrite=overwrite)
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f'.{out.name}.') as beside:
      beside = pathlib.Path(beside)
      (beside / 'new').mkdir()
      yield beside / 'new' / out.name
      for path in sorted((beside / 'new').iterdir()):
        target = out.parent / path.name
        if target.is_dir():
          target.rename(beside / 'old')
        path.replace(target)
  except (OSError, safetensors.SafetensorError) as error:
    raise UserError(
      f'Expected a place that can be written; found {out}: {error}. Give another --out.'
    ) from error


def check_out(out: pathlib.Path, *, overwrite: bool) -> None:
  """Raises UserError where `replacing` would."""
  is_free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
  if is_free:
    return
  if not overwrite:
    raise UserError(
      f'Expected a new file or folder; {out} is there already. Give another --out, or '
      '--overwrite to replace it.'
    )
  if out.is_dir() and not _is_export(out):
    raise UserError(
      f'Expected an earlier export to overwrite; {out} is another folder and would be '
      'lost. Give another --out.'
    )


def _is_export(folder: pathlib.Path) -> bool:
  # All that an export writes lies side by side, with a card that names its maker.
  card = folder / CARD_FILE
  is_flat = all(path.is_file() for path in folder.iterdir())
  return is_flat and card.is_file() and 'harma_jax' in card.read_text(errors='replace')


def _open_clip_config(size: Size) -> dict:
  image, text = size.image, size.text
  config = {
    'embed_dim': size.embedding,
    'vision_cfg': {
      'image_size': size.image_size,
      'layers': image.layers,
      'width': image.width,
      'head_width': image.width // image.heads,
      'patch_size': size.patch_size,
    },
    'text_cfg': {
      'context_length': size.context_length,
      'vocab_size': size.vocabulary,
      'width': text.width,
      'heads': text.heads,
      'layers': text.layers,
    },
  }
  if size.activation == 'quick_gelu':
    config['quick_gelu'] = True
  # `squash` resizes the whole image, as our evaluation does; the default would crop.
  preprocess = {
    'size': size.image_size,
    **dataclasses.asdict(size.preprocessing),
    'resize_mode': 'squash',
  }
  return {'model_cfg': config, 'preprocess_cfg': preprocess}


def _huggingface_config(size: Size, *, logit_scale: float) -> dict:
  def tower(shape: TowerSize) -> dict:
    return {
      'hidden_size': shape.width,
      'intermediate_size': 4 * shape.width,
      'num_hidden_layers': shape.layers,
      'num_attention_heads': shape.heads,
      'projection_dim': size.embedding,
      'hidden_act': size.activation,
      'layer_norm_eps': 1e-5,
      'attention_dropout': 0.0,
    }

  # The end token has the highest id, 49407 in CLIP's vocabulary; captions are filled up
  # with it, which no layer before the first of them sees.
  end = size.vocabulary - 1
  text = {
    'model_type': 'clip_text_model',
    'vocab_size': size.vocabulary,
    'max_position_embeddings': size.context_length,
    'bos_token_id': end - 1,
    'eos_token_id': end,
    'pad_token_id': end,
  }
  image = {
    'model_type': 'clip_vision_model',
    'image_size': size.image_size,
    'patch_size': size.patch_size,
    'num_channels': 3,
  }
  return {
    'architectures': ['CLIPModel'],
    'model_type': 'clip',
    'dtype': 'float32',
    'projection_dim': size.embedding,
    'logit_scale_init_value': logit_scale,
    'text_config': text | tower(size.text),
    'vision_config': image | tower(size.image),
  }


def _remote_config(model: Clip) -> dict:
  size = model.size
  return {
    'architectures': ['HarmaModel'],
    'auto_map': {
      'AutoConfig': 'modeling_harma.HarmaConfig',
      'AutoModel': 'modeling_harma.HarmaModel',
    },
    'model_type': 'harma',
    'dtype': 'float32',
    'patch_size': size.patch_size,
    'image_width': size.image.width,
    'image_layers': size.image.layers,
    'image_heads': size.image.heads,
    'text_width': size.text.width,
    'text_layers': size.text.layers,
    'text_heads': size.text.heads,
    'embedding': size.embedding,
    'context_length': size.context_length,
    'vocabulary': size.vocabulary,
    **settings_of(model),
  }


def _save_pth(
  path: pathlib.Path, tensors: dict[str, np.ndarray], *, config: dict
) -> None:
  try:
    import torch
  except ImportError as error:
    raise UserError(
      f'--out={path.name}: expected torch for a .pth file; it is not installed. '
      "pip install 'harma_jax[torch]', or let --out end in .safetensors."
    ) from error
  state = {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}
  torch.save({'model': state, 'config': config}, path)


def _save_json(path: pathlib.Path, content: dict) -> None:
  path.write_text(json.dumps(content, indent=2) + '\n')
