"""Cleaning and tokens against the original's output and a plain byte-pair coder."""

import json
import logging
import pathlib
import re
import string
import sys

import huggingface_hub
import numpy as np
import pytest
import transformers

from harma_jax.data import tokenizer
from harma_jax.data.annotations import CaptionTable, load_captions
from harma_jax.errors import UserError


@pytest.fixture(scope='session')
def protocol(reference_dir) -> dict:
  with np.load(reference_dir / 'protocol.npz') as file:
    return {
      'raw': json.loads(str(file['captions_raw'])),
      'clean': json.loads(str(file['captions_clean'])),
      'tokens_raw': file['tokens_raw'],
      'tokens_clean': file['tokens_clean'],
    }


def make_table(*captions: str) -> CaptionTable:
  return CaptionTable(
    image_root=pathlib.Path('images'),
    image_files=('a.jpg', 'b.jpg'),
    captions=captions,
    caption_image=np.arange(len(captions), dtype=np.int32) // 2,
    split='train',
  )


def plain_clean(caption: str, *, max_words: int) -> str:
  """Character by character what `clean_caption` does with expressions and tables."""
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


def test_clean_caption_matches_the_original(protocol):
  clean = [tokenizer.clean_caption(caption) for caption in protocol['raw']]
  assert clean == protocol['clean']


def test_clean_caption_matches_a_plain_loop():
  rng = np.random.default_rng(0)
  alphabet = list(string.ascii_letters[20:32] + ',.\'!?"()*#:;~-/<>\\  \n\té')
  for _ in range(500):
    caption = ''.join(rng.choice(alphabet, rng.integers(0, 40)))
    expected = plain_clean(caption, max_words=4)
    assert tokenizer.clean_caption(caption, max_words=4) == expected, repr(caption)


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
def test_clean_caption_examples(caption, expected):
  assert tokenizer.clean_caption(caption) == expected


@pytest.mark.parametrize('kind', ['raw', 'clean'])
def test_tokens_match_the_original(protocol, kind):
  tokens = tokenizer.tokenize(protocol[kind])
  assert tokens.dtype == np.int32
  np.testing.assert_array_equal(tokens, protocol[f'tokens_{kind}'])


def test_tokenize_pads_with_zeros():
  tokens = tokenizer.tokenize(['a boat', ''], context_length=6)
  np.testing.assert_array_equal(
    tokens, [[49406, 320, 4440, 49407, 0, 0], [49406, 49407, 0, 0, 0, 0]]
  )


@pytest.mark.parametrize('context_length', [3, 5, 12, 77])
def test_long_caption_is_cut_and_keeps_the_end(context_length):
  whole = tokenizer.tokenize(['red boat ' * 50], context_length=200)
  tokens = tokenizer.tokenize(['red boat ' * 50], context_length=context_length)
  assert tokens.shape == (1, context_length)
  np.testing.assert_array_equal(tokens[:, :-1], whole[:, : context_length - 1])
  assert tokens[0, -1] == tokenizer.END_TOKEN


@pytest.mark.parametrize(
  ('written', 'same_as'),
  [
    ('Red BOATS', 'red boats'),
    ('  red\n\tboats\u00a0', 'red boats'),
    ('fish &amp; ships', 'fish & ships'),
    ('fish &amp;amp; ships', 'fish & ships'),
    ('the water\u2019s edge', "the water's edge"),
    ('\u201cred\u201d boats', '"red" boats'),
    ('cafe\u0301', 'café'),
  ],
)
def test_spellings_that_the_original_unites(written, same_as):
  np.testing.assert_array_equal(*tokenizer.tokenize([written, same_as]))


def test_text_that_spells_an_end_token_does_not_end_a_row():
  tokens = tokenizer.tokenize(['a <|endoftext|> boat'], context_length=30)
  assert np.count_nonzero(tokens == tokenizer.END_TOKEN) == 1
  assert tokens[0, tokenizer.text_lengths(tokens)[0] - 2] == 4440


def test_repeated_captions_are_tokenized_once(monkeypatch):
  seen = []

  def encode(captions):
    seen.extend(captions)
    return [[len(caption)] for caption in captions]

  monkeypatch.setattr(tokenizer, '_encoder', lambda: encode)
  tokens = tokenizer.tokenize(['a', 'bbb', 'a', 'bbb', 'cc'], context_length=3)
  assert seen == ['a', 'bbb', 'cc']
  np.testing.assert_array_equal(tokens[:, 1], [1, 3, 1, 3, 2])


def test_no_captions_give_no_rows():
  assert tokenizer.tokenize([], context_length=9).shape == (0, 9)


def test_one_string_is_not_a_sequence_of_captions():
  with pytest.raises(TypeError, match='a boat'):
    tokenizer.tokenize('a boat')


def test_context_length_needs_room_for_a_word():
  with pytest.raises(UserError, match=r'at least 3; found 2'):
    tokenizer.tokenize(['a boat'], context_length=2)


def test_text_lengths_count_up_to_the_end_token():
  tokens = tokenizer.tokenize(['', 'boat', 'boat ' * 100], context_length=10)
  lengths = tokenizer.text_lengths(tokens)
  assert lengths.dtype == np.int32
  np.testing.assert_array_equal(lengths, [2, 3, 10])
  for row, length in zip(tokens, lengths, strict=True):
    assert list(row).index(tokenizer.END_TOKEN) == length - 1


def test_tokenize_table_cleans_when_asked():
  table = make_table('A red-boat!', 'one two three')
  cleaned = tokenizer.tokenize_table(table, max_words=2, context_length=8)
  expected = tokenizer.tokenize(['a red', 'one two'], context_length=8)
  np.testing.assert_array_equal(cleaned, expected)
  raw = tokenizer.tokenize_table(table, clean=False, context_length=8)
  expected = tokenizer.tokenize(table.captions, context_length=8)
  np.testing.assert_array_equal(raw, expected)
  assert not np.array_equal(raw, cleaned)


def test_caption_without_words_stays_and_is_reported(caplog):
  table = make_table('a boat', 'two boats', '...', ' . ')
  with caplog.at_level(logging.WARNING, logger='absl'):
    tokens = tokenizer.tokenize_table(table, context_length=5)
  np.testing.assert_array_equal(tokens[2], [49406, 49407, 0, 0, 0])
  assert re.search(
    r"2 of the 4 captions .* caption 3, '\.\.\.', of .*b\.jpg", caplog.text
  )


def test_table_without_any_words_is_refused():
  with pytest.raises(UserError, match=r"2 of the 2 captions .* caption 1, '\.\.\.'"):
    tokenizer.tokenize_table(make_table('...', '&nbsp;'))


def test_rsicd_keeps_its_three_captions_without_words(data_dir):
  table = load_captions(data_dir / 'rsicd', split='train')
  tokens = tokenizer.tokenize_table(table)
  assert tokens.shape == (39310, 77)
  empty = np.flatnonzero(tokenizer.text_lengths(tokens) == 2)
  np.testing.assert_array_equal(empty, [5155, 5692, 20337])
  assert {table.captions[row] for row in empty} == {'.'}


@pytest.fixture
def no_package(monkeypatch):
  """As on a Python for which instant_clip_tokenizer has no build."""
  monkeypatch.setitem(sys.modules, 'instant_clip_tokenizer', None)
  tokenizer._encoder.cache_clear()
  yield
  tokenizer._encoder.cache_clear()


def write_small_vocabulary(path) -> dict[str, int]:
  """A CLIP tokenizer of single letters and the pair `bo`, numbered as it is made."""
  words = ['b', 'o', 'b</w>', 'o</w>', 'a</w>', 'bo', '<', '|', '&</w>', '|</w>', '>']
  words += ['<|startoftext|>', '<|endoftext|>']
  vocabulary = {word: number for number, word in enumerate(words)}
  small = transformers.CLIPTokenizer(vocab=vocabulary, merges=[('b', 'o')])
  small.backend_tokenizer.save(str(path))
  return vocabulary


def test_without_the_package_the_hub_vocabulary_is_used(
  no_package, monkeypatch, tmp_path
):
  vocabulary = write_small_vocabulary(tmp_path / 'tokenizer.json')
  asked = []

  def download(repository, name, **keywords):
    asked.append((repository, name, keywords))
    return str(tmp_path / name)

  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  tokens = tokenizer.tokenize(['BOB &amp;  a', 'o <|endoftext|>'], context_length=9)
  words = [vocabulary[word] for word in ('bo', 'b</w>', '&</w>', 'a</w>')]
  np.testing.assert_array_equal(tokens[0], [49406, *words, 49407, 0, 0, 0])
  assert vocabulary['<|endoftext|>'] not in tokens[1, 2:4]
  name = (tokenizer.HUB_NAME, 'tokenizer.json', {'local_files_only': True})
  assert asked == [name]


def test_without_package_and_hub_the_remedy_is_named(no_package, monkeypatch):
  def download(*_, **keywords):
    raise FileNotFoundError('offline')

  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  with pytest.raises(UserError, match='instant_clip_tokenizer') as caught:
    tokenizer.tokenize(['a boat'])
  assert f'hf download {tokenizer.HUB_NAME} tokenizer.json' in str(caught.value)
