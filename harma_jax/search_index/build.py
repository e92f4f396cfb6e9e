"""Makes an index, or goes on with one that was begun."""

import functools
import os
import pathlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from harma_jax.data.tracking import Track, untracked
from harma_jax.errors import UserError
from harma_jax.search_index.files import check_tiling, find_images, tile_boxes
from harma_jax.search_index.index import (
  Shard,
  claim,
  make_manifest,
  missing_shards,
  shard_path,
  write_shard,
)
from harma_jax.search_index.reader import Rows, read_rows, stored_how

# u8[batch, side, side, 3] -> f32[batch, D], unit rows.
Encode = Callable[[np.ndarray], np.ndarray]


def build_index(
  images: str | os.PathLike,
  out: str | os.PathLike,
  *,
  encode: Encode,
  model: Mapping[str, str],
  preprocessing: Mapping,
  batch_size: int,
  tile: int = 0,
  stride: int = 0,
  share: tuple[int, int] = (0, 1),
  threads: int = 1,
  track: Track = untracked,
) -> dict[str, str]:
  """Writes the shards of an index that are missing.

  The same call goes on with what was stopped. Machines that see the same folders share
  the work, each with its own `share`; a later call may divide what is left otherwise.
  That the pixels stay as they are is not checked.

  Args:
    images: folder, see `find_images`.
    out: folder of the index.
    encode: features of `batch_size` images.
    model: see `make_manifest`.
    preprocessing: see `make_manifest`; `side` is the pixels of what the model sees.
    batch_size: rows that are encoded at once.
    tile: see `tile_boxes`.
    stride: from one tile to the next.
    share: (i, n): every n-th shard from the i-th on, counted from 0.
    threads: how many images are read at once.
    track: shows the progress.

  Returns:
    Name -> what is wrong, of the files that were skipped in this call.

  Raises:
    UserError: no images, another index in `out`, or a wrong share or tiling.
  """
  check_tiling(tile, stride)
  _check_share(share)
  images, out = pathlib.Path(images).expanduser(), pathlib.Path(out).expanduser()
  files = find_images(images)
  how = {'preprocessing': preprocessing, 'tile': tile, 'stride': stride}
  manifest = make_manifest(out, files, images=images, model=model, **how)
  claim(out, manifest)
  todo, problems = _todo(out, files, manifest=manifest, share=share), {}
  work = _write_shards(
    todo,
    problems,
    images=images,
    manifest=manifest,
    threads=threads,
    encode=encode,
    batch_size=batch_size,
  )
  for _ in track(work, title='index', total=sum(map(len, todo.values()))):
    pass
  _report(problems)
  return problems


def _check_share(share: tuple[int, int]) -> None:
  number, count = share
  if not 0 <= number < count:
    raise UserError(f'--share: expected I/N with 0 <= I < N; found {number}/{count}.')


def _todo(
  out: pathlib.Path,
  files: Sequence[str],
  *,
  manifest: Mapping,
  share: tuple[int, int],
) -> dict[pathlib.Path, Sequence[str]]:
  """The names of the files of each missing shard that is this program's."""
  size = manifest['files_a_shard']
  own, count = share
  return {
    shard_path(out, number): files[number * size : (number + 1) * size]
    for number in missing_shards(out, manifest)
    if number % count == own
  }


def _write_shards(
  todo: Mapping[pathlib.Path, Sequence[str]],
  problems: dict[str, str],
  *,
  images: pathlib.Path,
  manifest: Mapping,
  threads: int,
  **encoding,
) -> Iterator[None]:
  """Gives a sign for each file that is done; notes those skipped in `problems`."""
  tiling = {name: manifest[name] for name in ('tile', 'stride')}
  preprocessing = manifest['preprocessing']
  reading = {
    'side': preprocessing['side'],
    'cut': functools.partial(tile_boxes, **tiling),
    'how': stored_how(preprocessing),
    'threads': threads,
  }
  for path, names in todo.items():
    paths = [images / name for name in names]
    rows = read_rows(paths, **reading)
    shard = yield from _encode_shard(rows, names=names, **encoding)
    write_shard(path, shard, manifest=manifest)
    problems.update(shard.skipped)


def _encode_shard(
  rows: Iterable[tuple[int, Rows | UserError]],
  *,
  names: Sequence[str],
  encode: Encode,
  batch_size: int,
) -> Generator[None, None, Shard]:
  """The shard of some files; gives a sign for each file that is done."""
  batches = _Batches(encode, batch_size=batch_size)
  problems, parts, done = {}, [], 0
  for file, found in rows:
    if isinstance(found, UserError):
      problems[file] = str(found)
    else:
      batches.add(found.images)
      parts.append((file, found._replace(images=None)))  # the pixels have been used
    yield from [None] * (file - done)
    done = file
  features = batches.finish()
  yield from [None] * (len(names) - done)
  return _shard(features, parts, names=names, problems=problems)


def _shard(
  features: np.ndarray,
  parts: Sequence[tuple[int, Rows]],
  *,
  names: Sequence[str],
  problems: Mapping[int, str],
) -> Shard:
  """A shard of the rows, without those of files that turned out unreadable."""
  file, boxes = [np.zeros(0, np.int32)], [np.zeros((0, 4), np.int32)]
  corners = [np.zeros((0, 4, 2))]
  for number, rows in parts:
    file.append(np.full(len(rows.boxes), number, np.int32))
    boxes.append(rows.boxes)
    unknown = np.full((len(rows.boxes), 4, 2), np.nan)
    corners.append(unknown if rows.corners is None else rows.corners)
  file, boxes, corners = map(np.concatenate, (file, boxes, corners))
  kept = ~np.isin(file, list(problems))
  return Shard(
    features=features[kept],
    file=file[kept],
    boxes=boxes[kept],
    corners=None if np.isnan(corners[kept]).all() else corners[kept],
    names=names,
    skipped={names[number]: why for number, why in problems.items()},
  )


class _Batches:
  """Encodes rows in batches of one size, whatever the sizes that they come in."""

  def __init__(self, encode: Encode, *, batch_size: int):
    self._encode, self._size = encode, batch_size
    self._waiting, self._features = [], []

  def add(self, images: np.ndarray) -> None:
    self._waiting.append(images)
    if sum(map(len, self._waiting)) >= self._size:
      rows = np.concatenate(self._waiting)
      whole = len(rows) - len(rows) % self._size
      self._features.append(self._encode(rows[:whole]))
      self._waiting = [rows[whole:]]

  def finish(self) -> np.ndarray:
    """f32[n, D] of all rows, in their order."""
    rows = [images for images in self._waiting if len(images)]
    if rows:
      self._features.append(self._encode(np.concatenate(rows)))
    return np.concatenate(self._features) if self._features else np.zeros((0, 0), 'f4')


def _report(problems: Mapping[str, str]) -> None:
  if problems:
    first = next(iter(problems.values()))
    logging.warning(
      'skipped %d images that cannot be read, listed in the index; the first: %s',
      *(len(problems), first),
    )
