"""Parameters to the files of other programs, through the one table of names."""

import contextlib
import importlib.resources
import json
import pathlib
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
import safetensors

from harma_jax.errors import UserError
from harma_jax.model.clip import Clip
from harma_jax.model.families import CLIP
from harma_jax.weights.adapter import save_tensors
from harma_jax.weights.config_files import (
  huggingface_config,
  open_clip_config,
  remote_config,
)
from harma_jax.weights.layouts import LAYOUTS
from harma_jax.weights.names import give, names_of, paths_of
from harma_jax.weights.processor import write_processor
from harma_jax.weights.settings import OURS
from harma_jax.weights.tokenizer_files import write_tokenizer

CARD_FILE = 'README.md'
REMOTE_FILE = 'modeling_harma.py'


def tensors_of(params: dict, *, model: Clip, program: str) -> dict[str, np.ndarray]:
  """All weights in f32 by the names of a program.

  Args:
    params: of `model`, of any float type.
    model: has no adapters, unless the program is `harma`.
    program: `harma`, `huggingface` or `open_clip`, in the layout of the model's family.
      Where it has no place for the temperature, that stands in the logit scale, as
      minus its logarithm.
  """
  layout = layout_of(program, model=model)
  leaves = dict(paths_of(params))
  if model.size.logit_bias:  # a softmax trained without it
    leaves.setdefault('logit_bias', np.zeros((), np.float32))
  if 'temperature' not in LAYOUTS[layout].outside:
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


def layout_of(program: str, *, model: Clip) -> str:
  """The layout of a program for the family of a model."""
  return program if model.size.family is CLIP else f'{program}_siglip'


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
  tensors = tensors_of(params, model=model, program='harma')
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
  folder: pathlib.Path,
  params: dict,
  *,
  model: Clip,
  cleaning: str,
  beside: Sequence[pathlib.Path] = (),
) -> None:
  """Writes a folder of OpenCLIP: `create_model_and_transforms('local-dir:FOLDER')`.

  `cleaning` is that of the captions in training. The tokenizer of a SigLIP is copied
  out of the first folder of `beside` that has one; that of a CLIP is OpenCLIP's own.

  Raises:
    UserError: a SigLIP of a size that OpenCLIP has no image tower of.
  """
  config = open_clip_config(model.size) | {OURS: {'cleaning': cleaning}}
  folder.mkdir(parents=True)
  tensors = tensors_of(params, model=model, program='open_clip')
  save_tensors(folder / 'open_clip_model.safetensors', tensors)
  _save_json(folder / 'open_clip_config.json', config)
  if model.size.family is not CLIP:
    write_tokenizer(folder, size=model.size, beside=beside)


def write_huggingface(
  folder: pathlib.Path,
  params: dict,
  *,
  model: Clip,
  cleaning: str,
  context_length: int = 0,
  beside: Sequence[pathlib.Path] = (),
) -> None:
  """Writes a folder of transformers, for `CLIPModel` or `SiglipModel`.

  `cleaning` of the captions, and `context_length`, are those of training; 0 is the
  model's own. The tokenizer comes from a folder of `beside`, or else as
  `tokenizer_files` says.
  """
  folder.mkdir(parents=True)
  tensors = tensors_of(params, model=model, program='huggingface')
  save_tensors(folder / 'model.safetensors', tensors)
  scale = float(tensors['logit_scale'].reshape(()))
  config = huggingface_config(model.size, logit_scale=scale)
  _save_json(folder / 'config.json', config | {OURS: {'cleaning': cleaning}})
  write_processor(folder, size=model.size)
  write_tokenizer(folder, size=model.size, context_length=context_length, beside=beside)


def write_remote(
  folder: pathlib.Path,
  params: dict,
  *,
  model: Clip,
  cleaning: str,
  context_length: int = 0,
  beside: Sequence[pathlib.Path] = (),
) -> None:
  """Writes a folder for transformers with the code of a model with adapters.

  `cleaning` of the captions is that of training, as is `context_length`, which matters
  where adapters see the padding; 0 is the model's own. `beside`: as in
  `write_huggingface`.
  """
  folder.mkdir(parents=True)
  tensors = {
    'clip.' + name.removeprefix('model.') if name.startswith('model.') else name: tensor
    for name, tensor in tensors_of(params, model=model, program='harma').items()
  }
  save_tensors(folder / 'model.safetensors', tensors)
  config = remote_config(model) | {OURS: {'cleaning': cleaning}}
  _save_json(folder / 'config.json', config)
  code = importlib.resources.files('harma_jax.weights.remote') / REMOTE_FILE
  (folder / REMOTE_FILE).write_bytes(code.read_bytes())
  write_processor(folder, size=model.size)
  write_tokenizer(
    folder,
    size=model.size,
    context_length=context_length,
    pad_zero=True,
    beside=beside,
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
