"""Tokens of captions, and the lengths to which they are cut, as a config says."""

import pathlib

import numpy as np
from ml_collections import ConfigDict

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.cleaning import CLEANINGS
from harma_jax.data.tokenizer import (
  CLIP_TOKENIZER,
  LONG_TEXTS,
  Tokenizer,
  text_lengths,
  tokenize_table,
)
from harma_jax.data.tokenizer_files import VOCABULARY_FILES, files_of, open_tokenizer
from harma_jax.errors import UserError, expect, expect_one_of
from harma_jax.model.clip import Clip
from harma_jax.model.families import CLIP
from harma_jax.model.sizes import Size
from harma_jax.weights.tokenizer_source import find_tokenizer

# Of a batch's captions, in positions; 99 % of RSICD's and RSITMD's are within 27.
LENGTHS = (16, 24, 32, 48)


def build_tokens(config: ConfigDict, table: CaptionTable, model: Clip) -> np.ndarray:
  """i32[n_captions, L]: token ids of a table's captions, cleaned.

  Raises:
    UserError: as `open_tokenizer_of` and `tokenize_table`.
  """
  return tokenize_table(
    table,
    cleaning=cleaning(config),
    context_length=context_length(config, model),
    tokenizer=open_tokenizer_of(model, _tokenizer_folder(config, model)),
    long_texts=long_texts(config, model),
  )


def tokenizer_files(config: ConfigDict, model: Clip) -> list[pathlib.Path]:
  """Files of the tokenizer of a run, which it keeps; none where it is CLIP's.

  Raises:
    UserError: as `find_tokenizer_of`.
  """
  folder = _tokenizer_folder(config, model)
  return files_of(folder) if folder else []


def _tokenizer_folder(config: ConfigDict, model: Clip) -> pathlib.Path | None:
  return find_tokenizer_of(model, told=config.model.tokenizer, init=config.init)


def find_tokenizer_of(model: Clip, *, told: str, init: str) -> pathlib.Path | None:
  """The folder of a model's tokenizer; None where it reads CLIP's byte pairs.

  Args:
    model: a CLIP, or a SigLIP, which with CLIP's vocabulary reads byte pairs too.
    told: a file, a folder or a repository of the hub; '' for what lies beside `init`.
    init: where its weights are from.

  Raises:
    UserError: there is none; or one is told to a CLIP.
  """
  size = model.size
  if size.family is CLIP and told:
    raise UserError(
      f'model.tokenizer: expected none for a CLIP, whose vocabulary is known; found '
      f'{told!r}. Leave it out.'
    )
  if not told and size.vocabulary == CLIP_TOKENIZER.vocabulary:
    return None
  folder = find_tokenizer(told or init) if size.family is not CLIP else None
  if folder is None:
    raise UserError(_no_tokenizer(size, source=told or init))
  return folder


def _no_tokenizer(size: Size, *, source: str) -> str:
  known = f'{CLIP_TOKENIZER.vocabulary:,}'
  if size.family is CLIP:
    return (
      f'model.size: expected a CLIP of the usual {known} tokens; found vocabulary='
      f'{size.vocabulary:,}. Take other weights.'
    )
  return (
    f'model.tokenizer: expected the tokenizer of a {size.family.name} of '
    f'{size.vocabulary:,} tokens ({", ".join(VOCABULARY_FILES)}) beside the weights; '
    f'found none for {source or "random weights"!r}. Copy it there, as '
    'google/siglip2-base-patch16-256 and google/siglip-base-patch16-256 have it, or '
    f'set --config.model.tokenizer=FOLDER (a size of {known} tokens needs none).'
  )


def open_tokenizer_of(model: Clip, folder: pathlib.Path | None) -> Tokenizer:
  """The tokenizer of a folder, or CLIP's.

  Raises:
    UserError: it cannot be read, or has another vocabulary than the model.
  """
  if folder is None:
    return CLIP_TOKENIZER
  tokenizer, expected = open_tokenizer(folder), model.size.vocabulary
  if tokenizer.vocabulary != expected:
    raise UserError(
      f'model.tokenizer: expected {expected:,} tokens, as many as the model embeds; '
      f'found {tokenizer.vocabulary:,} in {folder}. Take the tokenizer that belongs to '
      'the weights: --config.model.tokenizer=FOLDER.'
    )
  return tokenizer


def long_texts(config: ConfigDict, model: Clip) -> str:
  """What becomes of captions that the context does not hold, one of `LONG_TEXTS`.

  Raises:
    UserError: it is none of them.
  """
  found = config.data.long_texts
  expect_one_of(('auto', *LONG_TEXTS), 'data.long_texts', found=found)
  return usual_long_texts(model) if found == 'auto' else found


def usual_long_texts(model: Clip) -> str:
  """One of `LONG_TEXTS`: CLIP was trained on cut texts, a SigLIP sees all positions."""
  return 'refuse' if model.size.fixed_length else 'cut'


def cleaning(config: ConfigDict) -> str:
  """How captions are cleaned, one of `CLEANINGS`.

  Raises:
    UserError: it is none.
  """
  found = config.data.cleaning
  expect_one_of(tuple(CLEANINGS), 'data.cleaning', found=found)
  return found


def context_length(config: ConfigDict, model: Clip) -> int:
  """Tokens of a caption.

  Raises:
    UserError: more than the model has positions, or fewer where it sees all of them.
  """
  most = model.size.context_length
  length = config.data.context_length or most
  of_model = f'the positions of {config.model.size}'
  what, least = f'2 to {most}, {of_model}, or 0 for all', 2
  if model.size.fixed_length:
    what, least = f'{most} or 0, {of_model}, all of which it sees, padding too', most
  expect(least <= length <= most, 'data.context_length', what, found=length)
  return length


def caption_lengths(config: ConfigDict, model: Clip) -> tuple[int, ...]:
  """To which lengths the captions of a batch may be cut, rising.

  None where the padding is seen, by adapters (`adapter_padding=none`) or by the tower
  itself (SigLIP's): a cut would change the features.
  """
  adapters_see_all = model.adapter is not None and model.adapter_padding == 'none'
  if adapters_see_all or model.size.fixed_length:
    return ()
  return tuple(n for n in LENGTHS if n < context_length(config, model))


def longest_length(config: ConfigDict, model: Clip, tokens: np.ndarray) -> int:
  """To which length all captions, `tokens` i32[n, L], may be cut."""
  lengths = caption_lengths(config, model)
  needed = text_lengths(tokens).max() if lengths else 0
  return min(n for n in (*lengths, tokens.shape[1]) if n >= needed)
