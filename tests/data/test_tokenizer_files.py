"""SigLIP's tokens beside those of the libraries that read the same files."""

import io
import json
import string
import sys

import numpy as np
import pytest
import tokenizers
import transformers
from tokenizers import models, pre_tokenizers, processors, trainers

from harma_jax.data.tokenizer import encode
from harma_jax.data.tokenizer_files import (
  canonicalize,
  files_of,
  fingerprint_of_files,
  open_tokenizer,
)
from harma_jax.errors import UserError

TEXTS = [
  'Two RED boats, near the pier!',
  'a baseball field -- beside 12 (green) trees',
  '   some planes\tare parked\nin an airport  ',
  'caf\u00e9 </s> <eos> <pad> <unk> & <unused3>',
  '',
]
CORPUS = [
  'two red boats near a pier',
  'a baseball field beside many green trees',
  'some planes are parked in an airport',
  'a river runs through farmland and trees',
]


def rows_of(texts, folder, *, length=64):
  return encode(texts, context_length=length, tokenizer=open_tokenizer(folder)).tokens


def canonicalized_plainly(text):
  """Sign by sign: the reference."""
  kept = [' ' if sign == '_' else sign for sign in text]
  kept = [sign for sign in kept if sign not in string.punctuation]
  return ' '.join(''.join(kept).lower().split())


def test_texts_are_canonicalized_as_open_clip_does_it():
  texts = [*TEXTS, *string.punctuation, 'near_the pier', 'A\u00a0B', '\u0130stanbul']
  for text in texts:
    assert canonicalize(text) == canonicalized_plainly(text)
  theirs = pytest.importorskip('open_clip.tokenizer').canonicalize_text
  assert [canonicalize(text) for text in texts] == [theirs(text) for text in texts]


@pytest.mark.parametrize('version', [1, 2])
def test_rows_are_those_of_transformers(version, write_tokenizer, tmp_path):
  folder = write_tokenizer(tmp_path, version=version)
  end, pad = {1: ('</s>', '</s>'), 2: ('<eos>', '<pad>')}[version]
  theirs = transformers.PreTrainedTokenizerFast(
    tokenizer_file=str(folder / 'tokenizer.json'), eos_token=end, pad_token=pad
  )
  for length in (12, 64):
    expected = theirs(
      [canonicalize(text) for text in TEXTS],
      padding='max_length',
      truncation=True,
      max_length=length,
    ).input_ids
    np.testing.assert_array_equal(rows_of(TEXTS, folder, length=length), expected)


def test_padding_is_that_of_the_version(write_tokenizer, tmp_path):
  for version, pad in {1: 1, 2: 0}.items():
    folder = write_tokenizer(tmp_path / str(version), version=version)
    [row] = rows_of(['boat'], folder, length=5)
    boat = open_tokenizer(folder).words(['boat'])[0]
    assert row.tolist() == [*boat, 1, *[pad] * (4 - len(boat))]


def test_a_long_text_is_cut_and_keeps_its_end(write_tokenizer, tmp_path):
  tokenizer = open_tokenizer(write_tokenizer(tmp_path))
  whole = encode(['boats ' * 20], context_length=90, tokenizer=tokenizer)
  cut = encode(['boats ' * 20], context_length=8, tokenizer=tokenizer)
  np.testing.assert_array_equal(cut.tokens[0, :7], whole.tokens[0, :7])
  assert cut.tokens[0, 7] == tokenizer.end
  assert cut.lengths == whole.lengths == np.count_nonzero(whole.tokens != tokenizer.pad)


@pytest.mark.parametrize('version', [1, 2])
def test_what_spells_a_special_token_is_text(version, write_tokenizer, tmp_path):
  tokenizer = open_tokenizer(write_tokenizer(tmp_path, version=version))
  texts = ['a </s> b', '<eos>', 'x<pad>y', '<bos> a']
  tokens, lengths = encode(texts, context_length=30, tokenizer=tokenizer)
  assert lengths.min() > 3
  for row, length in zip(tokens, lengths, strict=True):
    assert not {tokenizer.end, tokenizer.pad} & {*row[: length - 1]}
    assert row[length - 1] == tokenizer.end


def trained(folder):
  """A tokenizer.json that the library's own trainer made."""
  made = tokenizers.Tokenizer(models.Unigram())
  made.pre_tokenizer = pre_tokenizers.Metaspace()
  special = ['<pad>', '</s>', '<unk>']
  trainer = trainers.UnigramTrainer(
    vocab_size=70, special_tokens=special, unk_token='<unk>', show_progress=False
  )
  made.train_from_iterator(CORPUS * 5, trainer)
  made.post_processor = processors.TemplateProcessing(
    single='$A </s>', special_tokens=[('</s>', 1)]
  )
  made.save(str(folder / 'tokenizer.json'))
  return folder


def test_settings_beside_the_vocabulary_name_end_and_padding(tmp_path):
  folder = trained(tmp_path)
  assert rows_of(['boats'], folder)[0, -1] == 1
  settings = {
    'pad_token': {'__type': 'AddedToken', 'content': '<pad>'},
    'eos_token': '</s>',
  }
  (folder / 'tokenizer_config.json').write_text(json.dumps(settings))
  theirs = transformers.AutoTokenizer.from_pretrained(folder)
  expected = theirs(CORPUS, padding='max_length', max_length=64).input_ids
  np.testing.assert_array_equal(rows_of(CORPUS, folder), expected)
  assert rows_of(['boats'], folder)[0, -1] == 0
  names = [path.name for path in files_of(folder)]
  assert names == ['tokenizer.json', 'tokenizer_config.json']


@pytest.fixture
def sentencepiece_folder(tmp_path):
  """spiece.model of version 1, trained by the package."""
  package = pytest.importorskip('sentencepiece')
  written = io.BytesIO()
  package.SentencePieceTrainer.train(
    sentence_iterator=iter(CORPUS * 5),
    model_writer=written,
    vocab_size=70,
    hard_vocab_limit=False,
    **{'pad_id': 0, 'eos_id': 1, 'unk_id': 2, 'bos_id': -1},
    minloglevel=2,
  )
  (tmp_path / 'spiece.model').write_bytes(written.getvalue())
  return tmp_path


def test_a_sentencepiece_model_is_read_as_transformers_does(sentencepiece_folder):
  pytest.importorskip('google.protobuf')
  theirs = transformers.SiglipTokenizer(str(sentencepiece_folder / 'spiece.model'))
  texts = [text for text in [*TEXTS, *CORPUS] if '<' not in text]
  expected = theirs(texts, padding='max_length', truncation=True, max_length=64)
  np.testing.assert_array_equal(
    rows_of(texts, sentencepiece_folder), expected.input_ids
  )
  tokenizer = open_tokenizer(sentencepiece_folder)
  assert (tokenizer.end, tokenizer.pad) == (1, 1)
  assert tokenizer.vocabulary == theirs.vocab_size
  assert 1 not in tokenizer.words([canonicalize('a </s> b')])[0]


def test_without_its_package_a_sentencepiece_model_names_the_cure(
  sentencepiece_folder, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'sentencepiece', None)
  expected = r'harma_jax\[sentencepiece\].*, or put the tokenizer\.json'
  with pytest.raises(UserError, match=expected):
    open_tokenizer(sentencepiece_folder)


def test_files_that_are_no_tokenizer_of_siglip_are_refused(tmp_path):
  with pytest.raises(UserError, match=r'tokenizer\.json.* in .*; found none'):
    open_tokenizer(tmp_path)
  (tmp_path / 'tokenizer.json').write_text('{')
  with pytest.raises(UserError, match=r'Expected a tokenizer in .*tokenizer\.json'):
    open_tokenizer(tmp_path)
  other = tokenizers.Tokenizer(
    models.WordLevel({'a': 0, '[UNK]': 1}, unk_token='[UNK]')
  )
  other.save(str(tmp_path / 'tokenizer.json'))
  with pytest.raises(
    UserError, match=r'an end token \(</s> or <eos>\).*found end None'
  ):
    open_tokenizer(tmp_path)
  (tmp_path / 'tokenizer_config.json').write_text('[')
  with pytest.raises(UserError, match=r'Expected JSON in .*tokenizer_config\.json'):
    open_tokenizer(tmp_path)


def test_a_changed_file_is_read_again_and_has_another_fingerprint(
  write_tokenizer, tmp_path
):
  before = fingerprint_of_files(files_of(write_tokenizer(tmp_path, version=1)))
  assert open_tokenizer(tmp_path).pad == 1
  assert fingerprint_of_files(files_of(write_tokenizer(tmp_path))) != before
  assert open_tokenizer(tmp_path).pad == 0
