"""What cleaning and the length of a context do to the captions of a data set."""

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from harma_jax.data.cleaning import (
  CLEANINGS,
  RELEASED_WORDS,
  clean_caption,
  clean_sound,
  glued_words,
  is_cut,
)
from harma_jax.data.tokenizer import Tokenizer, encode
from harma_jax.errors import UserError


class Context(NamedTuple):
  """What a model reads of a caption; by default as every published CLIP.

  Attributes:
    length: positions, with those of special tokens.
    tokenizer: None for CLIP's.
  """

  length: int = 77
  tokenizer: Tokenizer | None = None


OF_CLIP = Context()


class Captioned(NamedTuple):
  """A caption, and where it stands."""

  place: str  # `rsicd_train.json, row 3`
  text: str


class Changes(NamedTuple):
  """What a way of cleaning does to captions: lines on each kind, the worst first.

  Attributes:
    cut: captions of which words are left out.
    glued: captions where words become one that only punctuation parts.
    equal: captions of other words that become the same text.
    empty: captions of which nothing is left, though something is written.
    n_equal: how many captions the lines of `equal` are about.
  """

  cut: tuple[str, ...]
  glued: tuple[str, ...]
  equal: tuple[str, ...]
  empty: tuple[str, ...]
  n_equal: int

  def counts(self) -> dict[str, int]:
    """How many captions there are of each kind."""
    found = {kind: len(getattr(self, kind)) for kind in ('cut', 'glued', 'empty')}
    return {'cut': found['cut'], 'glued': found['glued']} | {
      'made equal': self.n_equal,
      'empty': found['empty'],
    }


def caption_changes(
  captions: Sequence[Captioned], *, context: Context = OF_CLIP
) -> dict[str, Changes]:
  """What each of `CLEANINGS`, and `context` then, do to the captions of all splits."""
  return {
    cleaning: _changes(captions, cleaning=cleaning, context=context)
    for cleaning in CLEANINGS
  }


def _changes(
  captions: Sequence[Captioned], *, cleaning: str, context: Context
) -> Changes:
  cleaned = [clean_caption(text, cleaning=cleaning) for _, text in captions]
  too_long = _too_long(cleaned, context=context)
  cut, glued, empty = [], [], []
  for (place, text), clean in zip(captions, cleaned, strict=True):
    if is_cut(text, cleaning=cleaning):
      cut.append((len(text.split()), f'after {RELEASED_WORDS} words: {place}: {text}'))
    elif clean in too_long:
      line = f'after {context.length} tokens: {place}: {text}'
      cut.append((len(text.split()), line))
    if parts := glued_words(text, cleaning=cleaning):
      glued.append(f'{place}: {parts}: {text}')
    if text.strip() and not clean:
      empty.append(f'{place}: {text}')
  read = [too_long.get(clean, clean) for clean in cleaned]
  equal = _made_equal(read, [text for _, text in captions])
  return Changes(
    cut=most_first(cut),
    glued=tuple(glued),
    equal=most_first(equal),
    empty=tuple(empty),
    n_equal=sum(count for count, _ in equal),
  )


def _too_long(cleaned: Iterable[str], *, context: Context) -> Mapping[str, str]:
  """The texts that a context cuts, with what tells them apart: their tokens."""
  # No token is shorter than a byte; with special ones, three at most have none.
  most = context.length - 3
  texts = [text for text in dict.fromkeys(cleaned) if len(text.encode()) > most]
  try:
    tokens, lengths = encode(
      texts, context_length=context.length, tokenizer=context.tokenizer
    )
  except UserError as error:
    logging.warning('Captions that a context cuts are not counted. %s', error)
    return {}
  rows = np.flatnonzero(lengths > context.length)
  return {texts[row]: f'tokens {tokens[row].tolist()}' for row in rows}


def _made_equal(read: Iterable[str], texts: Iterable[str]) -> list[tuple[int, str]]:
  """Lines on texts that are read as one though their words differ."""
  groups = collections.defaultdict(collections.Counter)
  for key, text in zip(read, texts, strict=True):
    if key:
      groups[key][clean_sound(text)] += 1
  return [
    (words.total(), f'{words.total():,} captions: ' + ' = '.join(map(_quoted, words)))
    for words in groups.values()
    if len(words) > 1
  ]


def _quoted(text: str) -> str:
  return f'"{text}"'


def most_first(lines: Iterable[tuple[int, str]]) -> tuple[str, ...]:
  """Lines by a number that stands before each, the highest first."""
  ordered = sorted(lines, key=lambda line: line[0], reverse=True)
  return tuple(line for _, line in ordered)
