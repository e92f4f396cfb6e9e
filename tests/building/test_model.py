"""The model of a config."""

import jax.numpy as jnp
import pytest

from harma_jax.building import model as building_model
from harma_jax.building.check import check_config
from harma_jax.building.model import build_model, with_fastest_attention
from harma_jax.errors import UserError
from harma_jax.model.additions import Additions
from harma_jax.results.export import FITTING
from harma_jax.stepping.optim import ADAPTERS
from harma_jax.weights.card import KINDS


def test_the_model_has_what_the_config_says(small_config):
  fields = {
    'model.image_size': 32,
    'model.shared_adapter': 'both',
    'model.adapter_padding': 'none',
    'model.adapter_heads': 4,
    'model.bottleneck': 16,
    'model.layers': 'unroll',
    'model.remat': 'block',
    'model.dtype': 'bfloat16',
  }
  model = build_model(small_config(fields | {'model.adapters': 'harma'}))
  assert model.size.image_size == 32
  assert (model.shared_adapter, model.adapter_padding) == ('both', 'none')
  assert (model.adapter.heads, model.adapter.bottleneck) == (4, 16)
  assert model.adapter.shared_bottleneck == 8
  assert (model.layers, model.remat, model.dtype) == ('unroll', 'block', jnp.bfloat16)


def test_a_model_without_adapters_and_the_automatic_dtype_of_a_cpu(small_config):
  model = build_model(small_config())
  assert model.adapter is None
  assert model.dtype == jnp.float32


def test_the_attention_kernel_is_the_one_that_is_faster_everywhere(
  small_config, monkeypatch
):
  asked = []
  monkeypatch.setattr(
    building_model, 'fastest_kernel', lambda *_, **about: asked.append(about) or 'cudnn'
  )
  model = build_model(config := small_config())
  assert model.kernel == 'xla'
  assert with_fastest_attention(config, model) is model  # there is no choice
  monkeypatch.setattr(building_model, 'has_choice', lambda dtype: True)
  assert with_fastest_attention(config, model).kernel == 'cudnn'
  assert asked == [{'batch_size': 1, 'dtype': jnp.float32}]
  monkeypatch.setattr(
    building_model, 'maximum', lambda _: 1
  )  # xla is faster in another process
  assert with_fastest_attention(config, model).kernel == 'xla'
  named = small_config({'model.attention': 'xla'})
  assert with_fastest_attention(named, model).kernel == 'xla'
  assert len(asked) == 2


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('mean', (0.5, 0.5), r'model\.mean: .*three numbers of 0 to 1.*found \(0\.5'),
    ('std', (0.5, 0.0, 0.5), r'model\.std: .*numbers above 0'),
    ('interpolation', 'nearest', r'model\.interpolation: .*bicubic.*found .nearest'),
  ],
)
def test_what_images_cannot_undergo_is_the_users_mistake(
  small_config, field, value, message
):
  with pytest.raises(UserError, match=message):
    build_model(small_config({f'model.{field}': value}))


def test_a_run_with_another_kernel_is_built_anywhere(small_config):
  config = small_config({'model.attention': 'cudnn'})
  assert build_model(config).kernel == 'xla'
  with pytest.raises(UserError, match=r'model\.attention: expected auto or xla where'):
    check_config(config)


def test_every_table_of_adapters_has_every_kind():
  assert ADAPTERS.keys() == FITTING.keys() == KINDS.keys()
  kinds = {kind.kind for kind in (Additions, *Additions.__subclasses__())}
  assert kinds == ADAPTERS.keys()
