"""The images of all classes as features, each read once for all models."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from harma_jax.data.tracking import Track
from harma_jax.errors import UserError
from harma_jax.raster.how import DEFAULT, How
from harma_jax.search_index.files import tile_boxes
from harma_jax.search_index.reader import read_rows

# Images u8[side, side, 3] -> f32[n, D], unit rows.
EncodeImages = Callable[[Sequence[np.ndarray]], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoded:
  """The images of all classes.

  Attributes:
    features: f32[n, D] by the key of the model.
    labels: i64[n], the numbers of the classes.
    skipped: file -> what is wrong with it.
  """

  features: dict[str, np.ndarray]
  labels: np.ndarray
  skipped: dict[str, str]


def encode_folders(
  encoders: Mapping[str, EncodeImages],
  folders: Mapping[str, Sequence[pathlib.Path]],
  *,
  side: int,
  batch_size: int,
  skip: bool,
  track: Track,
  how: How = DEFAULT,
) -> Encoded:
  """Reads each image once, for all models, which see the same pixels.

  Args:
    encoders: of the models, by their keys.
    folders: the images of each class, by its folder.
    side: pixels of what the models see.
    batch_size: images that are encoded at once.
    skip: leave out images that cannot be read.
    track: shows the progress.
    how: what the user says of bands and values.

  Raises:
    UserError: an image cannot be read; with `skip`, none of a class can be.
  """
  paths = [path for images in folders.values() for path in images]
  labels = np.repeat(np.arange(len(folders)), [len(i) for i in folders.values()])
  parts = {key: [] for key in encoders}
  kept, skipped = [], {}
  noted = skipped if skip else None
  rows = _read(paths, side=side, how=how, skipped=noted, track=track)
  while batch := list(itertools.islice(rows, batch_size)):
    files, pixels = zip(*batch, strict=True)
    kept += files
    for key, encode in encoders.items():
      parts[key].append(encode(pixels))
  labels = labels[kept]
  _check_kept(labels, folders=list(folders), skipped=skipped)
  features = {key: np.concatenate(of_model) for key, of_model in parts.items()}
  return Encoded(features=features, labels=labels, skipped=skipped)


def _read(
  paths: Sequence[pathlib.Path],
  *,
  side: int,
  how: How,
  skipped: dict[str, str] | None,
  track: Track,
) -> Iterator[tuple[int, np.ndarray]]:
  """Numbers of files with u8[side, side, 3]; notes in `skipped` what cannot be read."""
  whole = how._replace(min_valid=0)  # no image is left out
  rows = read_rows(paths, side=side, cut=tile_boxes, threads=os.cpu_count(), how=whole)
  for file, found in track(rows, title='images', total=len(paths)):
    if not isinstance(found, UserError):
      yield file, found.images[0]
    elif skipped is None:
      raise UserError(f'{found} Or leave such images out: --on_bad_image=skip')
    else:
      skipped[str(paths[file])] = str(found)


def _check_kept(
  labels: np.ndarray, *, folders: Sequence[str], skipped: Mapping[str, str]
) -> None:
  empty = [folder for number, folder in enumerate(folders) if number not in labels]
  if empty:
    first = next(path for path in skipped if pathlib.Path(path).parent.name == empty[0])
    raise UserError(
      f'--images: expected a readable image in every folder; found none in {empty[0]}. '
      f'The first there: {skipped[first]}'
    )
  if skipped:
    logging.warning(
      'Skipped %d images that cannot be read, listed in --out; the first: %s',
      *(len(skipped), next(iter(skipped.values()))),
    )
