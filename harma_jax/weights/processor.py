"""Files with which transformers turns images and captions into a model's input."""

import gzip
import importlib.util
import json
import pathlib

import huggingface_hub
from absl import logging
from huggingface_hub.errors import HfHubHTTPError
from tokenizers import pre_tokenizers

from harma_jax.data.images import RESAMPLING
from harma_jax.data.tokenizer import HUB_NAME
from harma_jax.model.preprocessing import OPENAI, Preprocessing

TOKENIZER_FILES = ('vocab.json', 'merges.txt', 'tokenizer_config.json')

_START, _END = '<|startoftext|>', '<|endoftext|>'
_FIRST = '!'  # its id is 0
_VOCABULARY = 'bpe_simple_vocab_16e6.txt.gz'
_N_MERGES = 49152 - 256 - 2  # the file goes on; CLIP does not


def write_processor(
  folder: pathlib.Path,
  *,
  side: int,
  context_length: int,
  pad_zero: bool,
  preprocessing: Preprocessing = OPENAI,
) -> bool:
  """Writes what `CLIPProcessor.from_pretrained(folder)` reads.

  Images are processed as in our evaluation: the whole image is resized, without a
  crop.

  Args:
    folder: is there.
    side: of the model's images, in pixels.
    context_length: tokens of a caption.
    pad_zero: whether captions are filled up with token 0, as in training. The usual
      end tokens do as well where no layer sees what follows the first of them.
    preprocessing: what else images undergo.

  Returns:
    Whether a vocabulary was found. Without one the tokenizer's files are left out, and
    a warning says how to add them.
  """
  _write_json(
    folder / 'preprocessor_config.json', _image_processor(side, preprocessing)
  )
  vocabulary = _read_open_clip() or _read_hub()
  if vocabulary is None:
    logging.warning(
      'Expected the vocabulary of CLIP for %s, from the package open_clip or from %s '
      'on the Hugging Face hub or in its cache; found neither. All else is written. To '
      'add these files: hf download %s %s, then the same export with --overwrite.',
      *(', '.join(TOKENIZER_FILES), HUB_NAME, HUB_NAME, 'tokenizer.json'),
    )
    return False
  words, merges = vocabulary
  _write_json(folder / TOKENIZER_FILES[0], words)
  (folder / TOKENIZER_FILES[1]).write_text(
    '\n'.join(['#version: 0.2', *merges]) + '\n', encoding='utf-8'
  )
  _write_json(
    folder / TOKENIZER_FILES[2],
    _tokenizer(length=context_length, pad=_FIRST if pad_zero else _END),
  )
  return True


def _image_processor(side: int, preprocessing: Preprocessing) -> dict:
  return {
    'image_processor_type': 'CLIPImageProcessor',
    'processor_class': 'CLIPProcessor',
    'do_convert_rgb': True,
    'do_resize': True,
    'size': {'height': side, 'width': side},
    'resample': int(RESAMPLING[preprocessing.interpolation]),
    'do_center_crop': False,
    'do_rescale': True,
    'rescale_factor': 1 / 255,
    'do_normalize': True,
    'image_mean': preprocessing.mean,
    'image_std': preprocessing.std,
  }


def _tokenizer(*, length: int, pad: str) -> dict:
  return {
    'tokenizer_class': 'CLIPTokenizer',
    'processor_class': 'CLIPProcessor',
    'bos_token': _START,
    'eos_token': _END,
    'unk_token': _END,
    'pad_token': pad,
    'model_max_length': length,
    'do_lower_case': True,
    # A caption that spells a special token, or `!`, is text.
    'split_special_tokens': True,
  }


def _read_open_clip() -> tuple[dict[str, int], list[str]] | None:
  """Words with their ids, and merges, out of the package, which is not imported."""
  spec = importlib.util.find_spec('open_clip')
  if spec is None or not spec.submodule_search_locations:
    return None
  path = pathlib.Path(spec.submodule_search_locations[0]) / _VOCABULARY
  if not path.is_file():
    return None
  with gzip.open(path, 'rt', encoding='utf-8') as file:
    merges = file.read().split('\n')[1 : _N_MERGES + 1]
  # A byte's character, then the same at the end of a word, then what is merged.
  alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
  merged = (merge.replace(' ', '') for merge in merges)
  words = [*alphabet, *(f'{byte}</w>' for byte in alphabet), *merged, _START, _END]
  return {word: number for number, word in enumerate(words)}, merges


def _read_hub() -> tuple[dict[str, int], list[str]] | None:
  """The same from the hub's cache or, where that has nothing, from the hub."""
  for cached in (True, False):
    try:
      path = huggingface_hub.hf_hub_download(
        HUB_NAME, 'tokenizer.json', local_files_only=cached
      )
    except (OSError, HfHubHTTPError) as error:
      logging.debug('%s: %s', HUB_NAME, error)
      continue
    model = json.loads(pathlib.Path(path).read_text(encoding='utf-8'))['model']
    merges = [
      pair if isinstance(pair, str) else ' '.join(pair) for pair in model['merges']
    ]
    return model['vocab'], merges
  return None


def _write_json(path: pathlib.Path, content: dict) -> None:
  text = json.dumps(content, indent=None if len(content) > 99 else 2)
  path.write_text(text + '\n', encoding='utf-8')
