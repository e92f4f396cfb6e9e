"""Cleaning of captions against the original's output, a plain loop, and by example."""

import json
import string

import numpy as np
import pytest

from harma_jax.data.annotations import load_captions
from harma_jax.data.cleaning import (
  CLEANINGS,
  clean_caption,
  clean_released,
  clean_sound,
  glued_words,
  is_cut,
)


@pytest.fixture(scope='session')
def protocol(reference_dir) -> dict:
  with np.load(reference_dir / 'protocol.npz') as file:
    return {
      'raw': json.loads(str(file['captions_raw'])),
      'clean': json.loads(str(file['captions_clean'])),
    }


def plain_clean(caption: str, *, max_words: int) -> str:
  """Character by character what `clean_released` does with expressions and tables."""
  kept = ''
  for character in caption.lower():
    if character in '-/':
      kept += ' '
    elif character not in ',.\'!?"()*#:;~':
      kept += character
  kept = kept.replace('<person>', 'person')
  text, position = '', 0
  while position < len(kept):
    end = position
    while end < len(kept) and kept[end].isspace():
      end += 1
    text += ' ' if end - position >= 2 else kept[position]
    position = max(end, position + 1)
  while text.endswith('\n'):
    text = text[:-1]
  while text.startswith(' '):
    text = text[1:]
  while text.endswith(' '):
    text = text[:-1]
  words = text.split(' ')
  return text if len(words) <= max_words else ' '.join(words[:max_words])


def test_clean_released_matches_the_original(protocol):
  clean = [clean_released(caption) for caption in protocol['raw']]
  assert clean == protocol['clean']


def test_clean_released_matches_a_plain_loop():
  rng = np.random.default_rng(0)
  alphabet = list(string.ascii_letters[20:32] + ',.\'!?"()*#:;~-/<>\\  \n\té')
  for _ in range(500):
    caption = ''.join(rng.choice(alphabet, rng.integers(0, 40)))
    expected = plain_clean(caption, max_words=4)
    assert clean_released(caption, max_words=4) == expected, repr(caption)


@pytest.mark.parametrize(
  ('caption', 'expected'),
  [
    ('Two planes, parked (near) it!', 'two planes parked near it'),
    ('a T-shaped road/street', 'a t shaped road street'),
    ('a <person> here', 'a person here'),
    ('  wide    river \n', 'wide river'),
    ('one\ttab', 'one\ttab'),
    ('...', ''),
    ('', ''),
  ],
)
def test_clean_released_examples(caption, expected):
  assert clean_released(caption) == expected


@pytest.mark.parametrize(
  ('caption', 'expected'),
  [
    ('Two planes, parked (near) it!', 'two planes parked near it'),
    ('trees,buildings and roads.some cars', 'trees buildings and roads some cars'),
    ('a T-shaped road/street', 'a t shaped road street'),
    ("the airport's runway", 'the airport s runway'),
    ('the airport\u2019s \u201cold\u201d runway\u2026', 'the airport s old runway'),
    ('fish &amp; ships &#44; boats', 'fish & ships boats'),
    ('baseball_field [left]', 'baseball field left'),
    ('  wide\trivers \n and\u00a0lakes', 'wide rivers and lakes'),
    ('50% of 3 + 4', '50% of 3 + 4'),
    ('cafe\u0301', 'caf\u00e9'),
    ('...', ''),
    ('&nbsp;', ''),
    ('', ''),
  ],
)
def test_clean_sound_examples(caption, expected):
  assert clean_sound(caption) == expected


def test_sound_reads_every_word():
  words = [f'w{number}' for number in range(100)]
  assert clean_sound(', '.join(words)).split() == words
  assert len(clean_released(' '.join(words)).split()) == 30


def test_cleaning_twice_is_cleaning_once(data_dir):
  captions = load_captions(data_dir / 'rsicd', split='train').captions[:5000]
  for cleaning in CLEANINGS:
    for caption in captions:
      clean = clean_caption(caption, cleaning=cleaning)
      assert clean_caption(clean, cleaning=cleaning) == clean


def test_captions_are_cut_where_their_words_are_fewer_then():
  rng = np.random.default_rng(0)
  for _ in range(500):
    signs = rng.choice([' ', '  ', ', ', '-', '. ', ' / ', '\n'], rng.integers(20, 45))
    caption = ''.join(f'w{sign}' for sign in signs)
    whole = clean_released(caption, max_words=99)
    assert is_cut(caption, cleaning='released') == (whole != clean_released(caption))
    assert not is_cut(caption, cleaning='sound')


@pytest.mark.parametrize(
  ('caption', 'glued'),
  [
    ('many trees,buildings', 'trees,buildings'),
    ('a road.there is (one)car', 'road.there'),
    ('3.5 km', '3.5'),
    ("it's the airport's", ''),
    ('a T-shaped road/street', ''),
    ('trees, buildings.', ''),
    ("boats.'docks'", "boats.'docks"),
  ],
)
def test_words_that_released_glues_are_told(caption, glued):
  assert glued_words(caption, cleaning='released') == glued
  assert glued_words(caption, cleaning='sound') == ''
