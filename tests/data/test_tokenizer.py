"""Tokens against the original's output and a plain byte-pair coder."""

import functools
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
from harma_jax.data.cleaning import CLEANINGS
from harma_jax.errors import UserError
from harma_jax.weights import tokenizer_files


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


# As the two packages and OpenAI's code spell them.
SPECIAL = ('<|startoftext|>', '<|endoftext|>', '<start_of_text>', '<end_of_text>')


@pytest.mark.parametrize('special', SPECIAL)
@pytest.mark.parametrize('form', ['{}', 'a {} boat', 'a{}boat', 'x!{}.', '{}{}', 'a {'])
def test_text_that_spells_a_special_token_is_text(special, form):
  caption = form.replace('{}', special).replace('{', special[:-1])
  for text in (caption, caption.upper()):
    [row] = tokenizer.tokenize([text], context_length=40)
    assert np.count_nonzero(row == tokenizer.START_TOKEN) == 1
    assert np.count_nonzero(row == tokenizer.END_TOKEN) == 1
    # The same words with blanks where a word ends in any case are the same tokens.
    apart = re.sub(r'(?<=\w)(?=[_|])|(?<=[_|])(?=\w)', ' ', text)
    np.testing.assert_array_equal(
      row, tokenizer.tokenize([apart], context_length=40)[0]
    )


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


@pytest.mark.parametrize(
  ('cleaning', 'read'), [('released', 'a red boatdock'), ('sound', 'a red boat dock')]
)
def test_tokenize_table_cleans_as_it_is_told(cleaning, read):
  table = make_table('A red-boat,dock!', 'one two three')
  tokens = tokenizer.tokenize_table(table, cleaning=cleaning, context_length=8)
  expected = tokenizer.tokenize([read, 'one two three'], context_length=8)
  np.testing.assert_array_equal(tokens, expected)


def test_captions_that_are_cut_are_counted(caplog):
  words = ' '.join(['boat'] * 31)
  table = make_table('a boat', words, words + ' boats', 'two boats')
  with caplog.at_level(logging.WARNING, logger='absl'):
    released = tokenizer.tokenize_table(table, cleaning='released')
    [message] = caplog.messages
    assert re.search(r"2 of the 4 captions of split 'train' are cut after 30", message)
    assert 'data.cleaning=released; sound reads all' in message
    assert f'caption 2, {words!r}' in message
    caplog.clear()
    sound = tokenizer.tokenize_table(table, cleaning='sound')
    assert not caplog.messages
    tokenizer.tokenize_table(table, cleaning='sound', context_length=33)
    [message] = caplog.messages
    assert '1 of the 4 captions' in message
    assert 'cut after 33 tokens; the first is caption 3' in message
  np.testing.assert_array_equal(released[1], released[2])
  np.testing.assert_array_equal(tokenizer.text_lengths(sound), [4, 33, 34, 4])


@pytest.mark.parametrize('cleaning', CLEANINGS)
def test_caption_without_words_stays_and_is_reported(cleaning, caplog):
  table = make_table('a boat', 'two boats', '...', ' . ')
  with caplog.at_level(logging.WARNING, logger='absl'):
    tokens = tokenizer.tokenize_table(table, cleaning=cleaning, context_length=5)
  np.testing.assert_array_equal(tokens[2], [49406, 49407, 0, 0, 0])
  assert re.search(
    r"2 of the 4 captions .* caption 3, '\.\.\.', of .*b\.jpg", caplog.text
  )


@pytest.mark.parametrize('cleaning', CLEANINGS)
def test_table_without_any_words_is_refused(cleaning):
  with pytest.raises(UserError, match=r"2 of the 2 captions .* caption 1, '\.\.\.'"):
    tokenizer.tokenize_table(make_table('...', '&nbsp;'), cleaning=cleaning)


@pytest.mark.parametrize('cleaning', CLEANINGS)
def test_rsicd_keeps_its_three_captions_without_words(cleaning, data_dir):
  table = load_captions(data_dir / 'rsicd', split='train')
  tokens = tokenizer.tokenize_table(table, cleaning=cleaning)
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
  """A CLIP tokenizer of single signs and the pair `bo`, numbered as it is made."""
  words = [*'<|>&_' + string.ascii_lowercase, 'bo']
  words += [f'{sign}</w>' for sign in words[:-1]]
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


@pytest.mark.parametrize('special', SPECIAL)
def test_without_the_package_special_tokens_are_text_too(
  special, no_package, monkeypatch, tmp_path
):
  vocabulary = write_small_vocabulary(tmp_path / 'tokenizer.json')
  download = functools.partial(_give, tmp_path)
  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  [row] = tokenizer.tokenize([f'o {special} a'], context_length=60)
  words = row[1 : tokenizer.text_lengths(row[None])[0] - 1].tolist()
  assert not {vocabulary['<|startoftext|>'], vocabulary['<|endoftext|>']} & {*words}
  assert (words[0], words[-1]) == (vocabulary['o</w>'], vocabulary['a</w>'])


def test_both_packages_make_the_same_tokens(monkeypatch, tmp_path):
  instant = pytest.importorskip('instant_clip_tokenizer').Tokenizer()
  vocabulary = tokenizer_files._read_open_clip()
  if vocabulary is None:
    pytest.skip('open_clip, which has the vocabulary, is not installed')
  words, merges = vocabulary
  merges = [tuple(merge.split()) for merge in merges]
  hub = transformers.CLIPTokenizer(vocab=words, merges=merges)
  hub.backend_tokenizer.save(str(tmp_path / 'tokenizer.json'))
  download = functools.partial(_give, tmp_path)
  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  rng = np.random.default_rng(0)
  signs = ['<|', '|>', '_', ' ', '!', ',', '3.5', "it's", 'boats', 'caf\u00e9']
  pieces = [*SPECIAL, *signs]
  texts = [''.join(rng.choice(pieces, rng.integers(1, 9))) for _ in range(2000)]
  texts = [tokenizer._normalize(text) for text in texts]
  # The package alone takes its own spellings for the special tokens.
  assert instant.encode('<end_of_text>') == [tokenizer.END_TOKEN]
  assert tokenizer._encoder()(texts) == tokenizer._hub_encoder()(texts)


def _give(folder, repository, name, **_):
  return str(folder / name)


def test_without_package_and_hub_the_remedy_is_named(no_package, monkeypatch):
  def download(*_, **keywords):
    raise FileNotFoundError('offline')

  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  with pytest.raises(UserError, match='instant_clip_tokenizer') as caught:
    tokenizer.tokenize(['a boat'])
  assert f'hf download {tokenizer.HUB_NAME} tokenizer.json' in str(caught.value)
