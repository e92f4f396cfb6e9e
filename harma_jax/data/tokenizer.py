"""Captions to CLIP's byte-pair tokens, cleaned as HarMA cleans them."""

import functools
import html
import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from harma_jax.data.annotations import CaptionTable
from harma_jax.errors import UserError

START_TOKEN, END_TOKEN = 49406, 49407
HUB_NAME = 'openai/clip-vit-base-patch32'

_PUNCTUATION = str.maketrans('-/', '  ', ',.\'!?"()*#:;~')
_QUOTES = str.maketrans(
  dict.fromkeys('\u02bc\u2018\u2019\u201a\u201b', "'")
  | dict.fromkeys('\u201c\u201d\u201e\u201f', '"')
)


def clean_caption(caption: str, *, max_words: int = 30) -> str:
  """Lower case, no punctuation, at most `max_words` words: `pre_caption` of HarMA.

  The result is empty for a caption of punctuation alone.
  """
  text = caption.lower().translate(_PUNCTUATION).replace('<person>', 'person')
  # As in the original, a single tab or line break inside a caption stays.
  text = re.sub(r'\s{2,}', ' ', text).rstrip('\n').strip(' ')
  return ' '.join(text.split(' ')[:max_words])


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
  if isinstance(captions, str):
    raise TypeError(f'Expected a sequence of captions; found the string {captions!r}.')
  if context_length < 3:
    raise UserError(f'context_length: expected at least 3; found {context_length}.')
  row = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
  tokens = np.zeros((len(row), context_length), np.int32)
  encoded = _encoder()([_normalize(caption) for caption in row]) if row else []
  for target, words in zip(tokens, encoded, strict=True):
    words = [START_TOKEN, *words[: context_length - 2], END_TOKEN]
    target[: len(words)] = words
  return tokens[np.array([row[caption] for caption in captions], np.intp)]


def text_lengths(tokens: np.ndarray) -> np.ndarray:
  """i32[n]: the positions of i32[n, L] up to and including the end token.

  The end token is the highest of the vocabulary, as in the text tower.
  """
  return np.argmax(tokens, axis=-1).astype(np.int32) + 1


def tokenize_table(
  table: CaptionTable,
  *,
  clean: bool = True,
  max_words: int = 30,
  context_length: int = 77,
) -> np.ndarray:
  """Tokens i32[n_captions, context_length] of a table's captions.

  A caption of which nothing is left stays in its place as start and end, and a warning
  names it: RSICD has three that are `.`, which the original keeps as well.

  Args:
    table: captions as annotated.
    clean: whether `clean_caption` comes first.
    max_words: for `clean_caption`.
    context_length: positions of a row.

  Raises:
    UserError: as `tokenize`, or nothing is left of all captions.
  """
  captions = table.captions
  if clean:
    captions = [clean_caption(caption, max_words=max_words) for caption in captions]
  tokens = tokenize(captions, context_length=context_length)
  empty = np.flatnonzero(text_lengths(tokens) <= 2)
  if empty.size:
    _report_empty(table, empty)
  return tokens


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
  return lambda captions: [encode(caption) for caption in captions]


def _hub_encoder() -> Callable[[list[str]], list[list[int]]]:
  # Not transformers.CLIPTokenizer: without its files it returns an empty vocabulary.
  import tokenizers

  tokenizer = tokenizers.Tokenizer.from_file(_hub_file('tokenizer.json'))
  tokenizer.no_truncation()
  tokenizer.no_padding()
  # A caption that spells a special token is text, and must not end a row.
  tokenizer.encode_special_tokens = True
  return lambda captions: [
    encoding.ids
    for encoding in tokenizer.encode_batch(captions, add_special_tokens=False)
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
