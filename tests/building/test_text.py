"""Tokens as a config says."""

import pytest

from harma_jax.building.model import build_model
from harma_jax.building.text import caption_lengths


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
