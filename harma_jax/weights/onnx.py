"""Two graphs of ONNX, of images and of captions, through transformers and torch."""

import importlib
import importlib.util
import json
import pathlib
import tempfile
from collections.abc import Sequence

from harma_jax.errors import UserError
from harma_jax.model.clip import Clip
from harma_jax.weights.export import write_huggingface, write_remote
from harma_jax.weights.formats import OPSET
from harma_jax.weights.processor import write_processor
from harma_jax.weights.settings import OURS
from harma_jax.weights.tokenizer_files import write_tokenizer

CONFIG_FILE = 'onnx_config.json'
NEEDED = ('torch', 'onnx', 'onnxscript')
# Of each graph: its file, and the name of its input.
GRAPHS = {'image': ('image.onnx', 'pixel_values'), 'text': ('text.onnx', 'input_ids')}


def write_onnx(
  folder: pathlib.Path,
  params: dict,
  *,
  model: Clip,
  cleaning: str,
  context_length: int = 0,
  beside: Sequence[pathlib.Path] = (),
) -> None:
  """Writes `image.onnx` and `text.onnx`, and what prepares their inputs.

  `image.onnx`: `pixel_values` f32[B, 3, side, side] to `features` f32[B, D], of length
  1; `text.onnx`: `input_ids` i64[B, L] likewise, L the context length. B is free.

  Args:
    folder: made here.
    params: of `model`.
    model: without adapters, or with HarMA's.
    cleaning: of the captions in training.
    context_length: of captions in training; 0 is the model's own.
    beside: folders that may have the tokenizer.

  Raises:
    UserError: torch, onnx or onnxscript, which the exporter needs, is not installed.
  """
  torch = _torch()
  length = context_length or model.size.context_length
  side = model.size.image_size
  with tempfile.TemporaryDirectory() as scratch:
    theirs = _transformers_model(
      pathlib.Path(scratch) / 'model', params, model=model, cleaning=cleaning
    )
  folder.mkdir(parents=True)
  examples = {
    'image': torch.zeros(2, 3, side, side),
    'text': torch.zeros(2, length, dtype=torch.int64),
  }
  for tower, example in examples.items():
    _export(theirs, example, tower=tower, folder=folder)
  config = _config(model, length=length) | {OURS: {'cleaning': cleaning}}
  (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + '\n')
  write_processor(folder, size=model.size)
  write_tokenizer(
    folder,
    size=model.size,
    context_length=length,
    pad_zero=model.adapter is not None,
    beside=beside,
  )


def _export(theirs, example, *, tower: str, folder: pathlib.Path) -> None:
  """Writes the graph of a tower of transformers' model, with a free batch."""
  torch = importlib.import_module('torch')
  file, name = GRAPHS[tower]

  class Features(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.model = theirs

    def forward(self, batch):
      found = getattr(self.model, f'get_{tower}_features')(batch)
      found = getattr(found, 'pooler_output', found)
      return torch.nn.functional.normalize(found, dim=-1)

  program = torch.onnx.export(
    Features().eval(),
    (example,),
    dynamo=True,
    verbose=False,
    input_names=[name],
    output_names=['features'],
    dynamic_shapes=({0: torch.export.Dim('batch')},),
    opset_version=OPSET,
  )
  program.save(str(folder / file))


def _transformers_model(
  folder: pathlib.Path, params: dict, *, model: Clip, cleaning: str
):
  """The model as transformers computes it, read from a folder that may go then."""
  transformers = importlib.import_module('transformers')
  if model.adapter is None:
    write_huggingface(folder, params, model=model, cleaning=cleaning)
    return transformers.AutoModel.from_pretrained(folder).eval()
  remote = importlib.import_module('harma_jax.weights.remote.modeling_harma')
  write_remote(folder, params, model=model, cleaning=cleaning)
  return remote.HarmaModel.from_pretrained(folder).eval()


def _config(model: Clip, *, length: int) -> dict:
  shapes = {'image': ['batch', 3, *[model.size.image_size] * 2]}
  shapes['text'] = ['batch', length]
  dtypes = {'image': 'float32', 'text': 'int64'}
  return {
    'format': 'harma_jax onnx',
    'opset': OPSET,
    'family': model.size.family.name,
    'graphs': {
      tower: {
        'file': file,
        'input': {'name': name, 'dtype': dtypes[tower], 'shape': shapes[tower]},
        'output': {
          'name': 'features',
          'dtype': 'float32',
          'shape': ['batch', model.size.embedding],
        },
      }
      for tower, (file, name) in GRAPHS.items()
    },
  }


def _torch():
  missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
  if missing:
    raise UserError(
      f'--format=onnx: expected {", ".join(NEEDED)}, through which it is made; '
      f'{", ".join(missing)} not installed. '
      "pip install 'harma_jax[onnx]', or take another --format."
    )
  return importlib.import_module('torch')
