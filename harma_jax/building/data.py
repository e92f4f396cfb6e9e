"""How captioned images are read and fed, as a config says."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.building.model import build_model
from harma_jax.data.annotations import CaptionTable
from harma_jax.data.pipeline import most_distinct_images, train_batches
from harma_jax.data.pixels import (
  CACHES,
  PixelStore,
  choose_cache,
  free_host_bytes,
  open_pixels,
)
from harma_jax.data.reading import Reading
from harma_jax.data.tables import Scenes, Source, read_table
from harma_jax.devices.mesh import free_device_bytes, place_rows
from harma_jax.devices.processes import maximum
from harma_jax.errors import expect_one_of
from harma_jax.raster.how import How
from harma_jax.stepping.inputs import make_inputs
from harma_jax.stepping.microbatch import at_once


def build_splits(config: ConfigDict) -> dict[str, str]:
  """The name of the split of each role, `train`, `val` and `test`, that there is."""
  data = config.data
  names = {'train': data.train_split, 'val': data.val_split, 'test': data.test_split}
  return {role: name for role, name in names.items() if name}


def build_how(config: ConfigDict) -> How:
  """What `config.data` says of bands and values."""
  return How(bands=config.data.bands, stretch=config.data.stretch)


def build_source(config: ConfigDict) -> Source:
  """Where the captions of `config.data` are read from, or drawn."""
  settings = config.data
  expect_one_of(('raise', 'skip'), 'data.on_bad_image', found=settings.on_bad_image)
  return Source(
    root=settings.root,
    annotations=settings.annotations,
    images=settings.images,
    reading=_build_reading(config),
    train=settings.train_split,
    val=settings.val_split,
    hold_out=settings.hold_out,
    swapped=settings.swap_captions,
    seed=config.seed,
    skips_bad_images=settings.on_bad_image == 'skip',
    max_pixels=settings.max_pixels,
    how=build_how(config),
    threads=settings.threads,
    scenes=_build_scenes(config) if settings.scenes.style else None,
  )


def _build_reading(config: ConfigDict) -> Reading:
  """What `config.data` says of tables and of the names of images."""
  settings = config.data
  return Reading(
    columns=settings.columns,
    prefix=settings.prefix,
    match=settings.match,
    restval=settings.restval,
  )


def _build_scenes(config: ConfigDict) -> Scenes:
  scenes = config.data.scenes
  counts = {'train': scenes.train, 'val': scenes.val, 'test': scenes.test}
  return Scenes(
    style=scenes.style,
    counts={name: counts[role] for role, name in build_splits(config).items()},
    side=build_model(config).size.image_size,
    seed=scenes.seed,
  )


def build_table(config: ConfigDict, split: str) -> CaptionTable:
  """The captions of a split of `config.data`; see `read_table`."""
  return read_table(build_source(config), split)


def build_pixels(config: ConfigDict, table: CaptionTable) -> tuple[PixelStore, str]:
  """The training images, and where `config.data.cache` keeps them.

  Only for `host` they are read now; `place_images` reads them for `device`.

  Raises:
    UserError: an image cannot be read.
  """
  settings = config.data
  expect_one_of(('auto', *CACHES), 'data.cache', found=settings.cache)
  pixels = open_pixels(
    table,
    side=settings.cache_side,
    threads=settings.threads,
    max_pixels=settings.max_pixels,
    how=build_how(config),
  )
  cache = settings.cache if epochs_of(config) else 'stream'  # none is looked at
  if cache == 'auto':
    cache = _nearest_cache(pixels)
    logging.info(
      'data.cache=auto: %s, for %.2f GB of pixels', cache, pixels.n_bytes / 1e9
    )
  if cache == 'host':
    pixels = pixels.keep(threads=settings.threads)
  return pixels, cache


def epochs_of(config: ConfigDict) -> float:
  """Of training; 0 where nothing trains, whatever `train.epochs` is."""
  return 0.0 if config.optimizer.train == 'none' else config.train.epochs


def _nearest_cache(pixels: PixelStore) -> str:
  """The nearest memory that has room in every process: all run one program."""
  free = free_device_bytes()
  own = choose_cache(
    pixels.n_bytes,
    device_bytes=None if free is None else free * jax.device_count(),
    host_bytes=free_host_bytes(),
  )
  return CACHES[maximum(CACHES.index(own))]


def place_images(config: ConfigDict, pixels: PixelStore, *, mesh: Mesh) -> dict:
  """All training images on the devices, cut over them; see `make_inputs`.

  A process reads what its own devices hold.

  Raises:
    UserError: an image cannot be read.
  """
  return place_rows(
    lambda rows: pixels.take(rows, threads=config.data.threads)._asdict(),
    count=pixels.table.n_images,
    mesh=mesh,
  )


def build_batches(
  config: ConfigDict,
  table: CaptionTable,
  tokens: np.ndarray,
  *,
  pixels: PixelStore | None,
  lengths: tuple[int, ...],
  n_distinct: int,
  first_step: int,
  last_step: int,
) -> Iterator[tuple[dict, int]]:
  """This process's part of the training batches; see `train_batches`."""
  reads = pixels is not None and pixels.kept is None
  return train_batches(
    table,
    tokens,
    seed=config.seed,
    batch_size=config.train.batch_size,
    first_step=first_step,
    last_step=last_step,
    pixels=pixels,
    lengths=lengths,
    captions_per_image=config.data.captions_per_image,
    n_distinct=n_distinct,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    threads=config.data.threads,
    workers=config.data.workers if reads else 0,
  )


def distinct_images(
  config: ConfigDict, table: CaptionTable, *, last_step: int, mesh: Mesh
) -> int:
  """Places for images in a batch where each is encoded once; 0 for one each pair."""
  if not config.data.image_reuse:
    return 0
  return most_distinct_images(
    table,
    seed=config.seed,
    batch_size=config.train.batch_size,
    last_step=last_step,
    multiple=mesh.size,
  )


def build_inputs(
  config: ConfigDict,
  *,
  side: int,
  mesh: Mesh,
  over_rows: Callable = at_once,
  interpolation: str = 'bicubic',
) -> Callable[[dict, dict], dict]:
  """What makes the step's batch of images of `side` pixels, with `config.augment`."""
  settings = config.augment
  return make_inputs(
    mesh=mesh,
    over_rows=over_rows,
    side=side,
    interpolation=interpolation,
    crop_scale=tuple(settings.crop_scale),
    flip=settings.flip,
    quarter_turns=settings.quarter_turns,
    rand_augment=tuple(settings.rand_augment),
  )
