"""Captions to tokens: the door of every vocabulary, and the byte pairs of CLIP."""

import dataclasses
import functools
import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from absl import logging

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.cleaning import RELEASED_WORDS, clean_caption, is_cut
from harma_jax.errors import UserError

START_TOKEN, END_TOKEN = 49406, 49407
HUB_NAME = 'openai/clip-vit-base-patch32'

_SPELLED = re.compile(r'(<(?:\|(?:start|end)oftext|start|end))(\|>|_of_text>)')
_QUOTES = str.maketrans(
  dict.fromkeys('\u02bc\u2018\u2019\u201a\u201b', "'")
  | dict.fromkeys('\u201c\u201d\u201e\u201f', '"')
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokenizer:
  """A vocabulary, and how texts become rows of it.

  Attributes:
    words: tokens of many texts, none of them special.
    normalize: what is done to a text before.
    start: the first token of a row; None for none.
    end: the token behind the text.
    pad: the tokens behind the end.
    vocabulary: how many tokens there are.
  """

  words: Callable[[list[str]], list[list[int]]]
  normalize: Callable[[str], str]
  start: int | None
  end: int
  pad: int
  vocabulary: int

  @property
  def special(self) -> int:
    """Positions of a row that are no text."""
    return 1 + (self.start is not None)


class Encoded(NamedTuple):
  """Captions as tokens.

  Attributes:
    tokens: i32[n, L]: start where there is one, text, end, then padding.
    lengths: i32[n]: how many positions each caption needs; above L, it is cut.
  """

  tokens: np.ndarray
  lengths: np.ndarray


def tokenize(captions: Sequence[str], *, context_length: int = 77) -> np.ndarray:
  """Byte-pair tokens of CLIP: start, text, end, then zeros.

  HTML entities, curly quotes, white space and case are normalised as the original
  tokenizer does; unlike it, wrongly decoded text is not repaired. A caption that is
  too long is cut, with the end token kept last.

  Args:
    captions: texts; each distinct one is tokenized once.
    context_length: positions of a row, at least 3.

  Returns:
    i32[n, context_length].

  Raises:
    UserError: `context_length` is too small, or no vocabulary is available.
  """
  return encode(captions, context_length=context_length).tokens


def encode(
  captions: Sequence[str], *, context_length: int, tokenizer: Tokenizer | None = None
) -> Encoded:
  """`tokenize` by any vocabulary (None: CLIP's), and how long the captions are."""
  if isinstance(captions, str):
    raise TypeError(f'Expected a sequence of captions; found the string {captions!r}.')
  if context_length < 3:
    raise UserError(f'context_length: expected at least 3; found {context_length}.')
  by = tokenizer or CLIP_TOKENIZER
  row = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
  tokens = np.full((len(row), context_length), by.pad, np.int32)
  lengths = np.zeros(len(row), np.int32)
  first = [] if by.start is None else [by.start]
  encoded = by.words([by.normalize(caption) for caption in row]) if row else []
  for number, words in enumerate(encoded):
    lengths[number] = len(words) + by.special
    words = [*first, *words[: context_length - by.special], by.end]
    tokens[number, : len(words)] = words
  rows = np.array([row[caption] for caption in captions], np.intp)
  return Encoded(tokens[rows], lengths[rows])


def word_token(word: str) -> int | None:
  """The token of a word that has one of its own; the smaller, the more common."""
  [tokens] = _encoder()([_normalize(word)])
  return tokens[0] if len(tokens) == 1 else None


def text_lengths(tokens: np.ndarray) -> np.ndarray:
  """i32[n]: the positions of i32[n, L] up to and including the end token of CLIP.

  The end token is the highest of the vocabulary, as in the text tower.
  """
  return np.argmax(tokens, axis=-1).astype(np.int32) + 1


LONG_TEXTS = ('cut', 'refuse')  # what becomes of texts that a context does not hold
LongTexts = Literal['cut', 'refuse']


def tokenize_table(
  table: CaptionTable,
  *,
  cleaning: str = 'sound',
  context_length: int = 77,
  tokenizer: Tokenizer | None = None,
  long_texts: LongTexts = 'cut',
) -> np.ndarray:
  """Tokens i32[n_captions, context_length] of a table's captions, cleaned.

  A caption of which nothing is left stays in its place as start and end, and a warning
  names it. RSICD has three that are `.`; the original stops at one with an error. A
  warning counts the captions that are cut, too.

  Args:
    table: captions as annotated.
    cleaning: one of `CLEANINGS`.
    context_length: positions of a row.
    tokenizer: of the model; None for CLIP's.
    long_texts: one of `LONG_TEXTS`.

  Raises:
    UserError: as `tokenize`; nothing is left of all captions; or some are too long,
      which are to be refused.
  """
  tokenizer = tokenizer or CLIP_TOKENIZER
  cleaned = [clean_caption(caption, cleaning=cleaning) for caption in table.captions]
  tokens, lengths = encode(cleaned, context_length=context_length, tokenizer=tokenizer)
  empty = np.flatnonzero(lengths <= tokenizer.special)
  if empty.size:
    _report_empty(table, empty)
  if long_texts == 'refuse':
    check_lengths(lengths, table.captions, context_length=context_length)
  _report_cut(table, lengths > context_length, f'after {context_length} tokens')
  words_cut = [is_cut(caption, cleaning=cleaning) for caption in table.captions]
  _report_cut(
    table,
    np.array(words_cut, bool),
    f'after {RELEASED_WORDS} words (data.cleaning={cleaning}; sound reads all)',
  )
  return tokens


def check_lengths(
  lengths: np.ndarray, texts: Sequence[str], *, context_length: int
) -> None:
  """Raises UserError where texts of `lengths` i32[n] need more than the context."""
  long = np.flatnonzero(lengths > context_length)
  if long.size:
    raise UserError(
      f'Expected texts of at most {context_length} tokens, the last of which stands '
      f'for the whole text; found {long.size:,} longer ones, the first of '
      f'{lengths[long[0]]}: {texts[long[0]]!r}. Shorten them; or, for training, '
      '--config.data.long_texts=cut leaves out what comes after.'
    )


def _report_empty(table: CaptionTable, empty: np.ndarray) -> None:
  first = empty[0]
  found = (
    f'{empty.size} of the {table.n_captions} captions of split {table.split!r} hold '
    f'none; the first is caption {first + 1}, {table.captions[first]!r}, of '
    f'{table.image_path(table.caption_image[first])}'
  )
  if empty.size == table.n_captions:
    raise UserError(f'Expected words in the captions; {found}. Correct the file.')
  logging.warning('Expected words in every caption; %s. They stay, as no text.', found)


def _report_cut(table: CaptionTable, cut: np.ndarray, where: str) -> None:
  if not cut.any():
    return
  first = cut.argmax()
  logging.warning(
    '%s of the %s captions of split %r are cut %s; the first is caption %d, %r.',
    *(f'{cut.sum():,}', f'{table.n_captions:,}', table.split, where),
    *(first + 1, table.captions[first]),
  )


def _normalize(caption: str) -> str:
  text = html.unescape(html.unescape(caption)).translate(_QUOTES)
  return ' '.join(unicodedata.normalize('NFC', text).lower().split())


@functools.cache
def _encoder() -> Callable[[list[str]], list[list[int]]]:
  """A function from texts to their tokens, without start and end."""
  try:
    from instant_clip_tokenizer import Tokenizer
  except ImportError:  # it has no build for Python 3.13 and later
    return _hub_encoder()
  encode = Tokenizer().encode
  return lambda captions: [encode(_as_text(caption)) for caption in captions]


def _as_text(caption: str) -> str:
  """The caption with no special token, in either package, for what spells one.

  instant_clip_tokenizer finds `<end_of_text>` in a text, tokenizers keeps
  `<|endoftext|>` apart from the signs beside it. Words end at `_` and `|` in any case,
  so that a blank there changes no other token.
  """
  return _SPELLED.sub(r'\1 \2', caption)


def _hub_encoder() -> Callable[[list[str]], list[list[int]]]:
  # Not transformers.CLIPTokenizer: without its files it returns an empty vocabulary.
  import tokenizers

  tokenizer = tokenizers.Tokenizer.from_file(_hub_file('tokenizer.json'))
  tokenizer.no_truncation()
  tokenizer.no_padding()
  tokenizer.encode_special_tokens = True  # or a caption that spells one ends its row
  return lambda captions: [
    encoding.ids
    for encoding in tokenizer.encode_batch(
      [_as_text(caption) for caption in captions], add_special_tokens=False
    )
  ]


def _hub_file(name: str) -> str:
  """From the local cache first: without a network the hub is asked for 20 s."""
  import huggingface_hub

  download = functools.partial(huggingface_hub.hf_hub_download, HUB_NAME, name)
  try:
    return download(local_files_only=True)
  except OSError:
    logging.info('Downloading %s of %s', name, HUB_NAME)
  try:
    return download()
  except OSError as error:
    raise UserError(
      'Expected the vocabulary of CLIP, from the package instant_clip_tokenizer or '
      f'from {HUB_NAME} on the Hugging Face hub or in its cache; found neither. '
      'Install the package (Python 3.12 or older), or run once with a network: '
      f'hf download {HUB_NAME} {name}'
    ) from error


CLIP_TOKENIZER = Tokenizer(
  words=lambda captions: _encoder()(captions),  # read when it is first asked for
  normalize=_normalize,
  start=START_TOKEN,
  end=END_TOKEN,
  pad=0,
  vocabulary=END_TOKEN + 1,
)
