"""The tokenizer's files inside exports: copied, or made of CLIP's vocabulary."""

import gzip
import importlib.util
import json
import pathlib
import shutil
from collections.abc import Sequence

import huggingface_hub
from absl import logging
from huggingface_hub.errors import HfHubHTTPError
from tokenizers import pre_tokenizers

from harma_jax.data.tokenizer import HUB_NAME
from harma_jax.model.families import CLIP
from harma_jax.model.sizes import Size

TOKENIZER_FILES = ('vocab.json', 'merges.txt', 'tokenizer_config.json')
# What a tokenizer of SigLIP is made of, and what stands beside it.
SIGLIP_VOCABULARIES = ('tokenizer.json', 'spiece.model', 'tokenizer.model')
_BESIDE = ('tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json')

_START, _END = '<|startoftext|>', '<|endoftext|>'
_FIRST = '!'  # its id is 0
_VOCABULARY = 'bpe_simple_vocab_16e6.txt.gz'
_N_MERGES = 49152 - 256 - 2  # the file goes on; CLIP does not


def write_tokenizer(
  folder: pathlib.Path,
  *,
  size: Size,
  context_length: int = 0,
  pad_zero: bool = False,
  beside: Sequence[pathlib.Path] = (),
) -> bool:
  """Writes what `AutoTokenizer.from_pretrained(folder)` reads.

  Args:
    folder: is there.
    size: of the model.
    context_length: tokens of a caption; 0 for all positions of the model.
    pad_zero: whether a CLIP's captions are filled up with token 0, as in training. The
      usual end tokens do as well where no layer sees what follows the first of them.
    beside: folders that may have the tokenizer: of the run, of its starting weights.

  Returns:
    Whether there was one. Without it the files are left out, and a warning says how to
    add them.
  """
  if size.family is not CLIP:
    return _copy_siglip(folder, size=size, beside=beside)
  vocabulary = _read_beside(beside) or _read_open_clip() or _read_hub()
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
  length = context_length or size.context_length
  _write_json(
    folder / TOKENIZER_FILES[2],
    _tokenizer(length=length, pad=_FIRST if pad_zero else _END),
  )
  return True


def _copy_siglip(
  folder: pathlib.Path, *, size: Size, beside: Sequence[pathlib.Path]
) -> bool:
  """Of the first folder that has a vocabulary, that and what stands beside it."""
  for place in beside:
    if any((place / name).is_file() for name in SIGLIP_VOCABULARIES):
      for name in (*SIGLIP_VOCABULARIES, *_BESIDE):
        if (place / name).is_file():
          shutil.copyfile(place / name, folder / name)
      return True
  logging.warning(
    'Expected the tokenizer of SigLIP (%s) in %s; found none. All else is written. '
    'Copy these files from the weights of %s words that training began with.',
    ', '.join((*SIGLIP_VOCABULARIES[:2], _BESIDE[0])),
    ' or '.join(map(str, beside)) or 'a folder of weights',
    f'{size.vocabulary:,}',
  )
  return False


def _read_beside(
  folders: Sequence[pathlib.Path],
) -> tuple[dict[str, int], list[str]] | None:
  """Words with their ids, and merges, of the first folder that has CLIP's."""
  for folder in folders:
    whole, words, merges = (
      folder / name for name in ('tokenizer.json', *TOKENIZER_FILES[:2])
    )
    if whole.is_file():
      return _of_tokenizer(whole)
    if words.is_file() and merges.is_file():
      lines = merges.read_text(encoding='utf-8').splitlines()
      found = json.loads(words.read_text(encoding='utf-8'))
      return found, [line for line in lines if line and not line.startswith('#version')]
  return None


def _of_tokenizer(path: pathlib.Path) -> tuple[dict[str, int], list[str]]:
  model = json.loads(path.read_text(encoding='utf-8'))['model']
  merges = model['merges']
  return model['vocab'], [m if isinstance(m, str) else ' '.join(m) for m in merges]


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
    return _of_tokenizer(pathlib.Path(path))
  return None


def _write_json(path: pathlib.Path, content: dict) -> None:
  text = json.dumps(content, indent=None if len(content) > 99 else 2)
  path.write_text(text + '\n', encoding='utf-8')
