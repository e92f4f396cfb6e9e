"""Tokens as a config says."""

import pathlib

import numpy as np
import pytest

from harma_jax.building.model import build_model
from harma_jax.building.text import (
  build_tokens,
  caption_lengths,
  cleaning,
  context_length,
)
from harma_jax.data.annotations import CaptionTable
from harma_jax.data.cleaning import CLEANINGS
from harma_jax.data.tokenizer import tokenize_table
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
