"""A run as shapes, of a config: for devices that are not there."""

import dataclasses
import functools
import math
import pathlib

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.building.data import build_how, build_table
from harma_jax.building.text import context_length
from harma_jax.data.pixels import choose_cache, open_pixels
from harma_jax.devices.mesh import batch_sharding, replicated
from harma_jax.model.clip import Clip


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSizes:
  """Of the training split.

  Attributes:
    images: how many.
    captions: how many.
    canvas: height and width that all images fit.
    known: from a data set, and not assumed.
    on_device: the images are resident, and not sent with each batch.
  """

  images: int
  captions: int
  canvas: tuple[int, int]
  known: bool
  on_device: bool


def for_platform(config: ConfigDict, platform: str) -> ConfigDict:
  """`config` with what it leaves to the backend as `platform` would decide it."""
  config = config.copy_and_resolve_references()
  for field in ('dtype', 'frozen_dtype'):
    if config.model[field] == 'auto' and platform != 'cpu':
      config.model[field] = 'bfloat16'
  return config


def train_sizes(config: ConfigDict, *, device_bytes: int | None = None) -> TrainSizes:
  """Of the data set, where one is there to be read; else of one batch.

  Args:
    config: of a run.
    device_bytes: memory of all devices together, by which `data.cache=auto` decides for
      images that are known; None where nobody knows it.
  """
  cache = config.data.cache
  root = pathlib.Path(config.data.root).expanduser()
  if config.data.root and root.is_dir() and not config.data.scenes.style:
    table = build_table(config, config.data.train_split)
    pixels = open_pixels(
      table,
      side=config.data.cache_side,
      threads=config.data.threads,
      max_pixels=config.data.max_pixels,
      how=build_how(config),
    )
    if cache == 'auto':
      cache = choose_cache(pixels.n_bytes, device_bytes=device_bytes, host_bytes=0)
    return TrainSizes(
      images=table.n_images,
      captions=table.n_captions,
      canvas=pixels.shape,
      known=True,
      on_device=cache == 'device',
    )
  size = config.train.batch_size
  return TrainSizes(
    images=size,
    captions=size * config.data.captions_per_image,
    canvas=(config.data.cache_side, config.data.cache_side),
    known=False,
    on_device=cache == 'device',
  )


def abstract_inputs(
  config: ConfigDict,
  model: Clip,
  *,
  mesh: Mesh,
  sizes: TrainSizes,
  length: int | None = None,
) -> tuple[dict, dict]:
  """Shapes, dtypes and shardings of what is resident and of a batch; see `make_inputs`.

  Args:
    config: of a run.
    model: that it trains.
    mesh: of all devices.
    sizes: of the training split.
    length: to which the captions are cut; default not at all.
  """
  shape = functools.partial(jax.ShapeDtypeStruct, sharding=batch_sharding(mesh))
  batch, several = config.train.batch_size, config.data.captions_per_image

  def pixels(n):
    return {
      'images': shape((n, *sizes.canvas, 3), jnp.uint8),
      'sizes': shape((n, 2), jnp.int32),
    }

  tokens = (sizes.captions, length or context_length(config, model))
  resident = {
    'tokens': jax.ShapeDtypeStruct(tokens, jnp.int32, sharding=replicated(mesh))
  }
  sent = {
    name: shape((batch,), jnp.int32) for name in ('items', 'seed', 'epoch', 'image_ids')
  }
  if config.data.image_reuse:  # at most an image each pair
    sent['own'] = shape((batch,), jnp.int32)
  rows = (batch, several) if several > 1 else (batch,)
  sent['rows'] = shape(rows, jnp.int32)
  if sizes.on_device:
    whole = math.ceil(sizes.images / mesh.size) * mesh.size
    return resident | pixels(whole), sent
  return resident, sent | pixels(batch)
