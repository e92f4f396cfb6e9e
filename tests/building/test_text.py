"""Tokens as a config says."""

import dataclasses
import pathlib

import numpy as np
import pytest

from harma_jax.building.model import build_model
from harma_jax.building.text import (
  build_tokens,
  caption_lengths,
  cleaning,
  context_length,
  long_texts,
  longest_length,
  tokenizer_files,
)
from harma_jax.data.annotations import CaptionTable
from harma_jax.data.cleaning import CLEANINGS, clean_caption
from harma_jax.data.tokenizer import encode, tokenize_table
from harma_jax.data.tokenizer_files import open_tokenizer
from harma_jax.errors import UserError


@pytest.mark.parametrize(
  ('changes', 'lengths'),
  [
    ({}, (16, 24, 32, 48)),
    ({'adapters': 'harma', 'adapter_padding': 'padding'}, (16, 24, 32, 48)),
    ({'adapters': 'harma', 'adapter_padding': 'none'}, ()),
  ],
)
def test_captions_are_cut_where_no_adapter_sees_padding(small_config, changes, lengths):
  fields = {f'model.{name}': value for name, value in changes.items()}
  config = small_config(fields | {'model.size': 'ViT-B-32'})
  assert caption_lengths(config, build_model(config)) == lengths
  with config.unlocked():
    config.data.context_length = 24
  assert caption_lengths(config, build_model(config)) == lengths[:1]


@pytest.mark.parametrize('name', CLEANINGS)
def test_captions_are_cleaned_as_the_config_says(small_config, name):
  config = small_config({'data.cleaning': name})
  table = CaptionTable(
    image_root=pathlib.Path('images'),
    image_files=('a.jpg',),
    captions=('red,boats', 'two boats'),
    caption_image=np.zeros(2, np.int32),
    split='train',
  )
  tokens = build_tokens(config, table, build_model(config))
  expected = tokenize_table(table, cleaning=name, context_length=8)
  np.testing.assert_array_equal(tokens, expected)
  assert len(np.unique(tokens[:, 1:], axis=0)) == 2


def test_an_unknown_cleaning_is_refused(small_config):
  config = small_config({'data.cleaning': 'thorough'})
  expected = r"data\.cleaning: expected one of released, sound; found 'thorough'"
  with pytest.raises(UserError, match=expected):
    cleaning(config)


def test_captions_of_siglip_have_all_positions(small_config):
  config = small_config({'model.size': 'tiny-siglip', 'model.adapters': 'none'})
  model = build_model(config)
  assert caption_lengths(config, model) == ()
  assert context_length(config, model) == 24
  config.data.context_length = 16
  with pytest.raises(UserError, match=r'24 or 0, the positions of tiny-siglip, all of'):
    context_length(config, model)


def siglip(small_config, *, size=60, **fields):
  fields = {
    'model.size': f'tiny-siglip,vocabulary={size}',
    'model.adapters': 'none',
  } | {name.replace('__', '.'): value for name, value in fields.items()}
  config = small_config(fields)
  return config, build_model(config)


TABLE = CaptionTable(
  image_root=pathlib.Path('images'),
  image_files=('a.jpg',),
  captions=('A red, boat', 'two boats ' * 6),
  caption_image=np.zeros(2, np.int32),
  split='train',
)


@pytest.mark.parametrize('name', CLEANINGS)
def test_captions_of_siglip_are_read_by_the_tokenizer_beside_its_weights(
  small_config, write_tokenizer, tmp_path, name
):
  fields = {'init': str(write_tokenizer(tmp_path)), 'data__cleaning': name}
  config, model = siglip(small_config, **fields, data__long_texts='cut')
  tokens = build_tokens(config, TABLE, model)
  expected = encode(
    [clean_caption(caption, cleaning=name) for caption in TABLE.captions],
    context_length=24,
    tokenizer=open_tokenizer(tmp_path),
  )
  np.testing.assert_array_equal(tokens, expected.tokens)
  assert longest_length(config, model, tokens) == 24
  assert tokenizer_files(config, model) == [tmp_path / 'tokenizer.json']


def test_what_a_cut_would_break_is_refused(small_config, write_tokenizer, tmp_path):
  config, model = siglip(small_config, init=str(write_tokenizer(tmp_path)))
  expected = r'at most 24 tokens.*; found 1 longer ones, the first of \d+: .two boats'
  with pytest.raises(UserError, match=expected):
    build_tokens(config, TABLE, model)
  clip = small_config()
  assert long_texts(clip, build_model(clip)) == 'cut'
  clip.data.long_texts = 'refuse'
  with pytest.raises(UserError, match='at most 8 tokens'):
    build_tokens(clip, TABLE, build_model(clip))
  clip.data.long_texts = 'maybe'
  with pytest.raises(UserError, match=r'data\.long_texts: expected one of auto, cut'):
    long_texts(clip, build_model(clip))


def test_a_siglip_of_clips_vocabulary_reads_byte_pairs(small_config):
  config, model = siglip(small_config, size=49408, data__long_texts='cut')
  expected = tokenize_table(TABLE, cleaning='released', context_length=24)
  np.testing.assert_array_equal(build_tokens(config, TABLE, model), expected)
  assert tokenizer_files(config, model) == []


def test_a_missing_tokenizer_is_named_with_its_cure(small_config, tmp_path):
  config, model = siglip(small_config, init=str(tmp_path))
  expected = rf'a SigLIP of 60 tokens \(tokenizer\.json, .*found none for .{tmp_path}'
  with pytest.raises(UserError, match=expected):
    build_tokens(config, TABLE, model)


def test_a_tokenizer_of_another_vocabulary_is_refused(
  small_config, write_tokenizer, tmp_path
):
  folder = str(write_tokenizer(tmp_path, size=61))
  config, model = siglip(small_config, model__tokenizer=folder)
  with pytest.raises(UserError, match=r'expected 60 tokens, .*found 61 in'):
    build_tokens(config, TABLE, model)


def test_a_clip_has_no_tokenizer_of_its_own(small_config, write_tokenizer, tmp_path):
  config = small_config({'model.tokenizer': str(write_tokenizer(tmp_path))})
  with pytest.raises(UserError, match='expected none for a CLIP'):
    build_tokens(config, TABLE, build_model(config))
  config = small_config({'model.size': 'toy,vocabulary=600'})
  with pytest.raises(UserError, match='usual 49,408 tokens; found vocabulary=600'):
    build_tokens(config, TABLE, build_model(config))


def test_long_clip_reads_captions_of_248_tokens(small_config):
  config = small_config({'model.size': 'ViT-B-16-quickgelu,context_length=248'})
  config.model.adapters = 'none'
  config.data.cleaning = 'sound'
  model = build_model(config)
  words = ' '.join(['boat'] * 200)
  table = dataclasses.replace(TABLE, captions=(words, 'a boat'))
  tokens = build_tokens(config, table, model)
  assert tokens.shape == (2, 248)
  assert np.count_nonzero(tokens[0]) == 202
  assert longest_length(config, model, tokens) == 248
