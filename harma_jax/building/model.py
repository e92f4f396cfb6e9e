"""The model of a config."""

import dataclasses

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from harma_jax.devices.processes import maximum
from harma_jax.errors import expect, expect_one_of
from harma_jax.model.adapter import ADAPTER_PADDING, SHARED_ADAPTER, AdapterSettings
from harma_jax.model.adaptformer import AdaptFormerSettings
from harma_jax.model.additions import Additions
from harma_jax.model.attention_kernel import KERNELS, fastest_kernel, has_choice
from harma_jax.model.clip import Clip
from harma_jax.model.clip_adapter import ClipAdapterSettings
from harma_jax.model.lora import LoraSettings
from harma_jax.model.preprocessing import INTERPOLATIONS, Preprocessing
from harma_jax.model.sizes import Size, named_size
from harma_jax.model.transformer import LAYERS, REMAT
from harma_jax.stepping.optim import (
  ADAPTERS,
)

DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


def build_model(config: ConfigDict) -> Clip:
  """The model of `config.model`; `dtype='auto'` is f32 on a CPU, bf16 elsewhere.

  What else is `auto`, `fit_to_devices` decides for training; here it is what runs
  anywhere.

  Raises:
    UserError: a value that is none of its field's.
  """
  config = config.model
  expect_one_of(SHARED_ADAPTER, 'model.shared_adapter', found=config.shared_adapter)
  expect_one_of(ADAPTER_PADDING, 'model.adapter_padding', found=config.adapter_padding)
  expect_one_of(('auto', *LAYERS), 'model.layers', found=config.layers)
  expect_one_of(('auto', *REMAT), 'model.remat', found=config.remat)
  expect_one_of(('auto', 'pallas', *KERNELS), 'model.attention', found=config.attention)
  expect_one_of(('auto', *DTYPES), 'model.dtype', found=config.dtype)
  expect_one_of(('auto', *DTYPES), 'model.frozen_dtype', found=config.frozen_dtype)
  size = build_size(config)
  dtype = _dtype(config.dtype)
  return Clip(
    size=size,
    adapter=_build_adapter(config),
    shared_adapter=config.shared_adapter,
    adapter_padding=config.adapter_padding,
    layers='scan' if config.layers == 'auto' else config.layers,
    remat='none' if config.remat == 'auto' else config.remat,
    # A run that trained with another kernel is evaluated anywhere.
    kernel='cudnn' if config.attention == 'cudnn' and has_choice(dtype) else 'xla',
    dtype=dtype,
  )


def build_size(config: ConfigDict) -> Size:
  """The size that `config.model`, given here, names, with what images undergo.

  Raises:
    UserError: a value that is none of its field's.
  """
  size = named_size(config.size, image_size=config.image_size)
  own = size.preprocessing
  for field in ('mean', 'std'):
    three = tuple(config[field])
    fits = not three or (len(three) == 3 and all(0 <= each <= 1 for each in three))
    what = 'three numbers of 0 to 1, as (0.5,0.5,0.5), or () for those of the size'
    expect(fits, f'model.{field}', what, found=three)
  expect(0 not in tuple(config.std), 'model.std', 'numbers above 0', found=config.std)
  how = config.interpolation
  expect_one_of(('', *INTERPOLATIONS), 'model.interpolation', found=how)
  return dataclasses.replace(
    size,
    preprocessing=Preprocessing(
      mean=tuple(config.mean) or own.mean,
      std=tuple(config.std) or own.std,
      interpolation=how or own.interpolation,
    ),
  )


def _build_adapter(config: ConfigDict) -> Additions | None:
  """What `config.model`, given here, adds to the towers."""
  expect_one_of(ADAPTERS, 'model.adapters', found=config.adapters)
  for field in ('bottleneck', 'shared_bottleneck'):
    expect(
      config[field] % config.adapter_heads == 0,
      f'model.{field}',
      f'a multiple of the {config.adapter_heads} heads (model.adapter_heads)',
      found=config[field],
    )
  harma = AdapterSettings(
    bottleneck=config.bottleneck,
    shared_bottleneck=config.shared_bottleneck,
    heads=config.adapter_heads,
    attention=config.adapter_attention,
  )
  adapters = {
    'harma': harma,
    'lora': LoraSettings(**config.lora),
    'adaptformer': AdaptFormerSettings(**config.adaptformer),
    'clip_adapter': ClipAdapterSettings(**config.clip_adapter),
    'none': None,
  }
  return adapters[config.adapters]


def with_fastest_attention(config: ConfigDict, model: Clip) -> Clip:
  """`model`; with `model.attention=auto` its kernel is the faster one, by measurement.

  All processes take the same: cuDNN's where it is faster in each of them.
  """
  if config.model.attention != 'auto' or not has_choice(model.dtype):
    return model
  own = fastest_kernel(
    model.size,
    batch_size=max(config.train.batch_size // jax.device_count(), 1),
    dtype=model.dtype,
  )
  kernel = KERNELS[maximum(KERNELS.index(own))]
  return dataclasses.replace(model, kernel=kernel)


def frozen_dtype(config: ConfigDict) -> jnp.dtype:
  """In which the weights that do not train are kept on the devices."""
  return _dtype(config.model.frozen_dtype)


def _dtype(name: str) -> jnp.dtype:
  automatic = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  return DTYPES[automatic if name == 'auto' else name]
