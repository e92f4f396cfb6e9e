"""The captions of a data set's splits: read, drawn, held out, swapped."""

import dataclasses
import pathlib
from collections.abc import Mapping

from absl import logging

from harma_jax.data.annotations import CaptionTable, load_captions
from harma_jax.data.bad_images import (
  describe_skipped,
  find_unreadable,
  without_images,
)
from harma_jax.data.hold_out import hold_out
from harma_jax.data.images import read_image
from harma_jax.data.noise import swap_captions
from harma_jax.data.prepared import is_prepared, read_prepared
from harma_jax.data.reading import Reading
from harma_jax.data.scenes import write_scenes
from harma_jax.errors import UserError
from harma_jax.raster.how import How


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenes:
  """Scenes to draw in place of a data set; see `write_scenes`.

  Attributes:
    style: one of `write_scenes`.
    counts: images of each split, by its name.
    side: of an image, in pixels.
    seed: of what is drawn.
  """

  style: str
  counts: Mapping[str, int]
  side: int
  seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """Where captioned images are read from, and what is done to their captions.

  Attributes:
    root: the folder; '' where the user has named none.
    annotations: a file of it, or `auto`; see `load_captions`.
    images: the folder of it that paths start from.
    reading: what the user says of columns and of the names of images.
    train: the name of the training split.
    val: the name of the split that `hold_out` makes.
    hold_out: share of the training images that are `val` instead.
    swapped: share of the training captions that change places.
    seed: of these places.
    skips_bad_images: leaves out images that are missing or cannot be read, and their
      captions.
    max_pixels: of an image; a larger one cannot be read.
    how: what the user says of bands and values.
    threads: images that are tried at once.
    scenes: to draw below `root` first, and to read.
  """

  root: str
  annotations: str
  images: str
  reading: Reading
  train: str
  val: str
  hold_out: float
  swapped: float
  seed: int
  skips_bad_images: bool
  max_pixels: int
  how: How
  threads: int
  scenes: Scenes | None


def read_table(source: Source, split: str) -> CaptionTable:
  """The captions of a split, drawn first where they are scenes.

  Raises:
    UserError: there is no such folder or split, or it cannot be read.
  """
  check_root(source.root)
  table = _readable(source, _read_split(source, split, root=_root_of(source)))
  if split != source.train or not source.swapped:
    return table
  table, wrong = swap_captions(table, share=source.swapped, seed=source.seed)
  logging.warning(
    'data.swap_captions=%g: %s of %s training captions now belong to another image. '
    'For study only.',
    *(source.swapped, f'{wrong.sum():,}', f'{table.n_captions:,}'),
  )
  return table


def check_root(root: str) -> None:
  """Raises UserError where no folder is named."""
  if not root:
    raise UserError(
      'data.root: expected the folder of a data set; found none. '
      'Set --config.data.root=FOLDER.'
    )


def _root_of(source: Source) -> pathlib.Path:
  """The folder that holds the data; of scenes, one named after what they are."""
  root, scenes = pathlib.Path(source.root).expanduser(), source.scenes
  if scenes is None:
    return root
  root = root / f'{scenes.style}-{scenes.side}-{scenes.seed}'
  write_scenes(
    root, counts=scenes.counts, side=scenes.side, style=scenes.style, seed=scenes.seed
  )
  return root


def _read_split(source: Source, split: str, *, root: pathlib.Path) -> CaptionTable:
  """The table of a split, where `hold_out` says so a part of the training split's."""
  if not source.hold_out or split not in (source.train, source.val):
    return _read_whole(source, split, root=root)
  table = _read_whole(source, source.train, root=root)
  rest, held_out = hold_out(table, share=source.hold_out, split=source.val)
  return rest if split == source.train else held_out


def _read_whole(source: Source, split: str, *, root: pathlib.Path) -> CaptionTable:
  """Reads a folder that was prepared, or annotations and images as they are."""
  if source.annotations == 'auto' and is_prepared(root):
    return read_prepared(root, split=split)
  return load_captions(
    root,
    split=split,
    annotations=source.annotations,
    images=source.images,
    reading=source.reading,
    missing_ok=source.skips_bad_images,
  )


def _readable(source: Source, table: CaptionTable) -> CaptionTable:
  """The table, without images that cannot be read where the source skips them."""
  if not source.skips_bad_images:
    return table

  def read(row):
    read_image(table.image_path(row), max_pixels=source.max_pixels, how=source.how)

  problems = find_unreadable(table.n_images, read, threads=source.threads)
  if not problems:
    return table
  logging.warning('%s', describe_skipped(table, problems))
  return without_images(table, problems)
