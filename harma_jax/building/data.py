"""From a config to what a model reads; nothing below reads a config."""

import pathlib
from collections.abc import Callable, Iterator

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.building.model import build_model
from harma_jax.data.annotations import CaptionTable, load_captions
from harma_jax.data.bad_images import (
  describe_skipped,
  find_unreadable,
  without_images,
)
from harma_jax.data.hold_out import hold_out
from harma_jax.data.images import read_image
from harma_jax.data.noise import swap_captions
from harma_jax.data.pipeline import (
  most_distinct_images,
  train_batches,
)
from harma_jax.data.pixels import (
  CACHES,
  PixelStore,
  choose_cache,
  free_host_bytes,
  open_pixels,
)
from harma_jax.data.prepared import is_prepared, read_prepared
from harma_jax.data.scenes import write_scenes
from harma_jax.data.tokenizer import text_lengths, tokenize_table
from harma_jax.devices.mesh import free_device_bytes, place_rows
from harma_jax.devices.processes import maximum
from harma_jax.errors import UserError, expect, expect_one_of
from harma_jax.model.clip import Clip
from harma_jax.stepping.inputs import make_inputs

LENGTHS = (16, 24, 32, 48)


def build_table(config: ConfigDict, split: str) -> CaptionTable:
  """The captions of a split of `config.data`, drawn first where they are scenes."""
  check_root(config)
  scenes = config.data.scenes
  root = pathlib.Path(config.data.root).expanduser()
  if scenes.style:
    counts = {
      config.data.train_split: scenes.train,
      config.data.val_split: scenes.val,
      config.data.test_split: scenes.test,
    }
    counts = {name: count for name, count in counts.items() if name}
    side = build_model(config).size.image_size
    root = root / f'{scenes.style}-{side}-{scenes.seed}'
    write_scenes(root, counts=counts, side=side, style=scenes.style, seed=scenes.seed)
  table = _readable(config, _read_split(config.data, root=root, split=split))
  if split != config.data.train_split or not config.data.swap_captions:
    return table
  table, wrong = swap_captions(table, share=config.data.swap_captions, seed=config.seed)
  logging.warning(
    'data.swap_captions=%g: %s of %s training captions now belong to another image. '
    'For study only.',
    *(config.data.swap_captions, f'{wrong.sum():,}', f'{table.n_captions:,}'),
  )
  return table


def _read_split(
  settings: ConfigDict, *, root: pathlib.Path, split: str
) -> CaptionTable:
  """The table of a split, where `hold_out` says so a part of the training split's."""
  train, val = settings.train_split, settings.val_split
  if not settings.hold_out or split not in (train, val):
    return _read_table(settings, root=root, split=split)
  table = _read_table(settings, root=root, split=train)
  rest, held_out = hold_out(table, share=settings.hold_out, split=val)
  return rest if split == train else held_out


def _read_table(
  settings: ConfigDict, *, root: pathlib.Path, split: str
) -> CaptionTable:
  """Reads a folder that was prepared, or annotations and images as they are."""
  if settings.annotations == 'auto' and is_prepared(root):
    return read_prepared(root, split=split)
  return load_captions(
    root, split=split, annotations=settings.annotations, images=settings.images
  )


def _readable(config: ConfigDict, table: CaptionTable) -> CaptionTable:
  """The table, without images that cannot be read where the config skips them."""
  expect_one_of(('raise', 'skip'), 'data.on_bad_image', found=config.data.on_bad_image)
  if config.data.on_bad_image == 'raise':
    return table

  def read(row):
    read_image(table.image_path(row), max_pixels=config.data.max_pixels)

  problems = find_unreadable(table.n_images, read, threads=config.data.threads)
  if not problems:
    return table
  logging.warning('%s', describe_skipped(table, problems))
  return without_images(table, problems)


def build_tokens(config: ConfigDict, table: CaptionTable, model: Clip) -> np.ndarray:
  """i32[n_captions, L]: token ids of a table's captions, cleaned."""
  return tokenize_table(table, context_length=context_length(config, model))


def context_length(config: ConfigDict, model: Clip) -> int:
  """Tokens of a caption.

  Raises:
    UserError: more than the model has positions.
  """
  most = model.size.context_length
  length = config.data.context_length or most
  what = f'2 to {most}, the positions of {config.model.size}, or 0 for all'
  expect(2 <= length <= most, 'data.context_length', what, found=length)
  return length


def caption_lengths(config: ConfigDict, model: Clip) -> tuple[int, ...]:
  """To which lengths the captions of a batch may be cut, rising.

  None where adapters see the padding (`adapter_padding=none`): a cut would change it.
  """
  if model.adapter is not None and model.adapter_padding == 'none':
    return ()
  return tuple(n for n in LENGTHS if n < context_length(config, model))


def longest_length(config: ConfigDict, model: Clip, tokens: np.ndarray) -> int:
  """To which length all captions, `tokens` i32[n, L], may be cut."""
  lengths = *caption_lengths(config, model), tokens.shape[1]
  return min(n for n in lengths if n >= text_lengths(tokens).max())


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
  )
  cache = settings.cache if config.train.epochs else 'stream'  # none is looked at
  if cache == 'auto':
    cache = _nearest_cache(pixels)
    logging.info(
      'data.cache=auto: %s, for %.2f GB of pixels', cache, pixels.n_bytes / 1e9
    )
  if cache == 'host':
    pixels = pixels.keep(threads=settings.threads)
  return pixels, cache


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
  config: ConfigDict, *, side: int, mesh: Mesh
) -> Callable[[dict, dict], dict]:
  """What makes the step's batch of images of `side` pixels, with `config.augment`."""
  settings = config.augment
  return make_inputs(
    mesh=mesh,
    side=side,
    crop_scale=tuple(settings.crop_scale),
    flip=settings.flip,
    quarter_turns=settings.quarter_turns,
    rand_augment=tuple(settings.rand_augment),
  )


def check_root(config: ConfigDict) -> None:
  """Raises UserError where `data.root` is empty."""
  if not config.data.root:
    raise UserError(
      'data.root: expected the folder of a data set; found none. '
      'Set --config.data.root=FOLDER.'
    )
