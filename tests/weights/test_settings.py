"""Configs beside weights: what they tell, and what they ask for in vain."""

import json

import pytest

from harma_jax.errors import UserError
from harma_jax.weights.settings import read_settings

HUGGING_FACE = {
  'vision_config': {'num_attention_heads': 16, 'hidden_act': 'gelu'},
  'text_config': {'num_attention_heads': 12, 'hidden_act': 'gelu'},
}
OPEN_CLIP = {
  'model_cfg': {
    'vision_cfg': {'width': 1280, 'head_width': 80},
    'text_cfg': {'heads': 16, 'pool_type': 'argmax'},
  }
}


@pytest.fixture
def settings(tmp_path):
  """`settings(config)`, read from a file."""

  def read(config):
    path = tmp_path / 'config.json'
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return read_settings(path)

  return read


def expected(activation, image_heads, text_heads):
  return {
    'activation': activation,
    'image_heads': image_heads,
    'text_heads': text_heads,
  }


def test_hugging_face_tells_activation_and_heads(settings):
  assert settings(HUGGING_FACE) == expected('gelu', 16, 12)


def test_hugging_face_leaves_out_its_defaults(settings):
  """They are ViT-B/32 of OpenAI, as `transformers.CLIPConfig()` has them."""
  assert settings({'vision_config': {}}) == expected('quick_gelu', 12, 8)


def test_the_golden_configs_are_read(golden_dir):
  hugging_face = read_settings(golden_dir / 'huggingface/config.json')
  assert hugging_face == expected('quick_gelu', 3, 2)
  open_clip = read_settings(golden_dir / 'open_clip/open_clip_config.json')
  assert open_clip == expected('gelu', 3, 2)


def test_openclip_tells_activation_and_heads(settings):
  assert settings(OPEN_CLIP) == expected('gelu', 16, 16)
  quick = {'model_cfg': OPEN_CLIP['model_cfg'] | {'quick_gelu': True}}
  assert settings(quick) == expected('quick_gelu', 16, 16)
  assert settings({'model_cfg': {}}) == expected('gelu', 12, 8)


def test_our_own_export_for_transformers_tells_them(settings):
  told = expected('quick_gelu', 4, 2) | {'adapter_padding': 'padding'}
  assert settings({'model_type': 'harma', 'image_size': 64, **told}) == told


def test_no_config_and_others_tell_nothing(settings):
  assert read_settings(None) == {}
  assert settings({'optimizer': {'train': 'adapters'}}) == {}


@pytest.mark.parametrize('text', ['', '{"model_cfg":', '[1, 2]'])
def test_a_damaged_config_is_the_users_mistake(settings, text):
  with pytest.raises(UserError, match=r'expected a readable config; .*config\.json'):
    settings(text)


@pytest.mark.parametrize(
  ('tower', 'field', 'value'),
  [
    ('vision_cfg', 'pool_type', 'avg'),
    ('text_cfg', 'pool_type', 'last'),
    ('text_cfg', 'no_causal_mask', True),
    ('vision_cfg', 'act_kwargs', {'approximate': 'tanh'}),
    ('vision_cfg', 'norm_kwargs', {'eps': 1e-6}),
    ('text_cfg', 'final_ln_after_pool', True),
  ],
)
def test_what_openclip_computes_otherwise_is_refused(settings, tower, field, value):
  with pytest.raises(UserError, match=f'a CLIP with {field} .*found .* in .*config'):
    settings({'model_cfg': {tower: {field: value}}})


@pytest.mark.parametrize(
  ('tower', 'changed'),
  [
    ('vision_config', {'hidden_act': 'gelu_pytorch_tanh'}),
    ('text_config', {'hidden_act': 'quick_gelu'}),
    ('text_config', {'layer_norm_eps': 1e-6}),
  ],
)
def test_what_hugging_face_computes_otherwise_is_refused(settings, tower, changed):
  config = HUGGING_FACE | {tower: HUGGING_FACE[tower] | changed}
  with pytest.raises(UserError, match=f'a CLIP with {next(iter(changed))} '):
    settings(config)
