"""Tokens of captions, and the lengths to which they are cut, as a config says."""

import numpy as np
from ml_collections import ConfigDict

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.cleaning import CLEANINGS
from harma_jax.data.tokenizer import text_lengths, tokenize_table
from harma_jax.errors import UserError, expect, expect_one_of
from harma_jax.model.clip import Clip
from harma_jax.model.families import CLIP

# Of a batch's captions, in positions; 99 % of RSICD's and RSITMD's are within 27.
LENGTHS = (16, 24, 32, 48)


def build_tokens(config: ConfigDict, table: CaptionTable, model: Clip) -> np.ndarray:
  """i32[n_captions, L]: token ids of a table's captions, cleaned.

  Raises:
    UserError: the model has another vocabulary than CLIP's.
  """
  check_vocabulary(model)
  return tokenize_table(
    table,
    cleaning=cleaning(config),
    context_length=context_length(config, model),
  )


def check_vocabulary(model: Clip) -> None:
  """Raises UserError for a family whose captions want a tokenizer of its own."""
  if model.size.family is not CLIP:
    raise UserError(
      f'model.size: expected a CLIP, whose tokenizer there is; found a '
      f'{model.size.family.name}, whose captions are not read yet. Take weights of a '
      'CLIP or a Long-CLIP.'
    )


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
  lengths = *caption_lengths(config, model), tokens.shape[1]
  return min(n for n in lengths if n >= text_lengths(tokens).max())
