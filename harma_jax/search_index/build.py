"""Makes an index, or brings one up to what its folder of images holds now."""

import collections
import dataclasses
import itertools
import operator
import os
import pathlib
import time
from collections.abc import (
  Callable,
  Collection,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)

import numpy as np
from absl import logging

from harma_jax.data.local_paths import check_local
from harma_jax.data.tracking import Track, untracked
from harma_jax.errors import UserError
from harma_jax.search_index.catalogue import File, read_catalogue, write_entry
from harma_jax.search_index.changes import (
  Changes,
  find_changes,
  is_same_state,
  share_of,
  state_of,
)
from harma_jax.search_index.compaction import compact, tidy
from harma_jax.search_index.files import check_tiles, cut_by, find_images
from harma_jax.search_index.manifest import claim, make_manifest
from harma_jax.search_index.reader import Rows, read_rows, stored_how
from harma_jax.search_index.shards import (
  STORAGES,
  Shard,
  shard_names,
  store,
  write_shard,
)
from harma_jax.search_index.storage import held, writing

# u8[batch, H, W, 3], of `side` or as cut -> f32[batch, D], unit rows.
Encode = Callable[[np.ndarray], np.ndarray]

FILES_AT_ONCE = 512  # whose sizes are read ahead
# A stopped program loses at most one shard.
ROWS_A_SHARD, SECONDS_A_SHARD = 2**16, 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
  """What a call has done to an index: numbers of files.

  Attributes:
    added: were not in it, or could not be read before.
    changed: were encoded again.
    dropped: are gone from the folder.
    unchanged: were in it as they are.
    skipped: name -> what is wrong, of those that cannot be read.
  """

  added: int
  changed: int
  dropped: int
  unchanged: int
  skipped: Mapping[str, str]

  @property
  def is_anything(self) -> bool:
    """Whether the index differs from what it was, but for what failed again."""
    return bool(self.added or self.changed or self.dropped)


def build_index(
  images: str | os.PathLike,
  out: str | os.PathLike,
  *,
  encode: Encode,
  model: Mapping[str, str],
  preprocessing: Mapping,
  batch_size: int,
  tiles: Sequence[tuple[int, int]] = ((0, 0),),
  storage: str = STORAGES[0],
  verify: bool = False,
  share: tuple[int, int] = (0, 1),
  threads: int = 1,
  as_cut: Collection[int] = (),
  track: Track = untracked,
) -> Made:
  """Adds what is new in a folder, encodes what changed again, drops what is gone.

  What failed before is tried again. The index is whole at any moment: the same call
  goes on with what was stopped or killed. Machines that see the same folders share the
  work, each with its own `share`; a later call may divide what is left otherwise.

  Args:
    images: folder, see `find_images`.
    out: folder of the index.
    encode: features of `batch_size` images.
    model: see `make_manifest`.
    preprocessing: see `make_manifest`; `side` is the pixels of what the model sees,
      `interpolation` of the resize, bicubic where it is not there.
    batch_size: rows that are encoded at once.
    tiles: tile and stride of each scale, see `tile_boxes`.
    storage: of features, see `shards.store`.
    verify: whether to compare files by content too, see `find_changes`.
    share: (i, n): the i-th of n machines, counted from 0.
    threads: how many images are read at once.
    as_cut: the tiles, of those of `tiles`, that `encode` resizes.
    track: shows the progress.

  Raises:
    UserError: no images, an index of other settings in `out` or one that another
      program changes, or a wrong share, tiling or storage.
  """
  check_tiles(tiles)
  _check_share(share)
  check_local(images, '--images')
  check_local(out, '--out')
  images, out = pathlib.Path(images).expanduser(), pathlib.Path(out).expanduser()
  names = find_images(images)
  manifest = make_manifest(
    out,
    images=images,
    model=model,
    preprocessing=preprocessing,
    tiles=tiles,
    storage=storage,
  )
  claim(out, manifest)
  alone = share[1] == 1
  with held(out, alone=alone):
    if alone:
      tidy(out)
    changes = _prepared(out, names, images=images, share=share, verify=verify)
    problems = _do(
      changes,
      out=out,
      images=images,
      found=len(names),
      encode=encode,
      batch_size=batch_size,
      storage=storage,
      reading={
        'side': preprocessing['side'],
        'cut': cut_by(tiles),
        'how': stored_how(preprocessing),
        'threads': threads,
        'as_cut': as_cut,
        'interpolation': preprocessing.get('interpolation', 'bicubic'),
      },
      track=track,
    )
    if alone:
      compact(out)
  _report(problems)
  return _made(changes, problems)


def _check_share(share: tuple[int, int]) -> None:
  number, count = share
  if not 0 <= number < count:
    raise UserError(f'--share: expected I/N with 0 <= I < N; found {number}/{count}.')


def _prepared(
  out: pathlib.Path,
  names: Sequence[str],
  *,
  images: pathlib.Path,
  share: tuple[int, int],
  verify: bool,
) -> Changes:
  """What there is to do; what needs no reading of images is done."""
  catalogue = read_catalogue(out)
  own = share_of(list(catalogue.files), share)
  known = {name: catalogue.files[name] for name in own}
  changes = find_changes(
    share_of(names, share),
    known,
    images=images,
    shards=set(shard_names(out)),
    verify=verify,
  )
  entry = dict.fromkeys(changes.gone)
  for name in changes.touched:
    now = changes.states[name]
    sha256 = now.sha256 or known[name].sha256
    entry[name] = dataclasses.replace(
      known[name], size=now.size, mtime_ns=now.mtime_ns, sha256=sha256
    )
  if entry or catalogue.found != len(names):
    write_entry(out, entry, found=len(names))
  return changes


def _do(
  changes: Changes,
  *,
  out: pathlib.Path,
  images: pathlib.Path,
  found: int,
  encode: Encode,
  batch_size: int,
  storage: str,
  reading: Mapping,
  track: Track,
) -> dict[str, str]:
  """Reads and writes what is to do; name -> what is wrong, of what failed."""
  rows, problems = _Rows(encode, batch_size=batch_size), {}
  last = time.monotonic()
  files = _read(changes.todo, images=images, **reading)
  for name, parts in track(files, title='index', total=len(changes.todo)):
    rows.add(name, parts, state=changes.states[name], path=images / name)
    if len(rows) >= ROWS_A_SHARD or time.monotonic() - last >= SECONDS_A_SHARD:
      problems |= _commit(rows, out=out, found=found, storage=storage)
      rows, last = _Rows(encode, batch_size=batch_size), time.monotonic()
  return problems | _commit(rows, out=out, found=found, storage=storage)


def _read(
  names: Sequence[str], *, images: pathlib.Path, **reading
) -> Iterator[tuple[str, Iterable[Rows | UserError]]]:
  """The parts of each file; those of one must be used before the next is asked for."""
  for start in range(0, len(names), FILES_AT_ONCE):
    some = names[start : start + FILES_AT_ONCE]
    found = read_rows([images / name for name in some], **reading)
    for file, parts in itertools.groupby(found, key=operator.itemgetter(0)):
      yield some[file], (part for _, part in parts)


def _commit(
  rows: '_Rows', *, out: pathlib.Path, found: int, storage: str
) -> dict[str, str]:
  """Writes what has been read; name -> what is wrong, of what failed."""
  if not rows.files:
    return {}
  shard = rows.finish(storage=storage)
  with writing(out):
    name = write_shard(out, shard) if len(shard.boxes) else ''
    files = {
      file: dataclasses.replace(known, shard=name) if known.rows else known
      for file, known in rows.files.items()
    }
    write_entry(out, files, found=found)
  return {file: known.error for file, known in files.items() if known.error}


class _Rows:
  """Rows of some files, on their way into a shard.

  Attributes:
    files: name -> what is known of those that were added.
  """

  def __init__(self, encode: Encode, *, batch_size: int):
    self._batches = _Batches(encode, batch_size=batch_size)
    self._boxes, self._corners = [np.zeros((0, 4), np.int32)], [np.zeros((0, 4, 2))]
    self._count, self.files = 0, {}

  def __len__(self) -> int:
    return self._count

  def add(
    self,
    name: str,
    parts: Iterable[Rows | UserError],
    *,
    state: File,
    path: pathlib.Path,
  ) -> None:
    """Encodes the parts of a file; its rows do not count where one is a mistake."""
    start, facts, dropped, error = self._count, {}, collections.Counter(), ''
    for part in parts:
      if isinstance(part, UserError):
        error = str(part)
        continue
      self._add(part)
      facts |= part.facts
      dropped.update(part.dropped)
    now = state_of(path)
    if not error and (now is None or not is_same_state(now, state)):
      error = f'{path}: changed while it was read. The same command reads it again.'
    self.files[name] = dataclasses.replace(
      state,
      start=start,
      rows=0 if error else self._count - start,
      facts=facts,
      dropped=dict(dropped),
      error=error,
    )

  def _add(self, part: Rows) -> None:
    self._batches.add(part.images)
    self._count += len(part.boxes)
    unknown = np.full((len(part.boxes), 4, 2), np.nan)
    self._boxes.append(part.boxes)
    self._corners.append(unknown if part.corners is None else part.corners)

  def finish(self, *, storage: str) -> Shard:
    """All rows, those that do not count included."""
    boxes, corners = np.concatenate(self._boxes), np.concatenate(self._corners)
    features = store(self._batches.finish(), storage=storage)
    return Shard(features, boxes, None if np.isnan(corners).all() else corners)


class _Batches:
  """Encodes rows in batches of one length and one shape, however they come."""

  def __init__(self, encode: Encode, *, batch_size: int):
    self._encode, self._size = encode, batch_size
    self._count, self._features = 0, []  # of the latter: rows and what they have
    self._waiting = collections.defaultdict(list)  # by their shape: row and image

  def add(self, images: np.ndarray) -> None:
    waiting = self._waiting[images.shape[1:]]
    waiting.extend(enumerate(images, start=self._count))
    self._count += len(images)
    if len(waiting) >= self._size:
      whole = len(waiting) - len(waiting) % self._size
      self._encode_some(waiting[:whole])
      del waiting[:whole]

  def finish(self) -> np.ndarray:
    """f32[n, D] of all rows, in their order."""
    for waiting in self._waiting.values():
      self._encode_some(waiting)
    if not self._count:
      return np.zeros((0, 0), 'f4')
    features = np.empty((self._count, self._features[0][1].shape[1]), 'f4')
    for rows, found in self._features:
      features[rows] = found
    return features

  def _encode_some(self, waiting: Sequence[tuple[int, np.ndarray]]) -> None:
    if waiting:
      rows, images = zip(*waiting, strict=True)
      self._features.append((list(rows), self._encode(np.stack(images))))


def _made(changes: Changes, problems: Mapping[str, str]) -> Made:
  read = {
    name: len([file for file in getattr(changes, name) if file not in problems])
    for name in ('new', 'changed', 'failed')
  }
  return Made(
    added=read['new'] + read['failed'],
    changed=read['changed'],
    dropped=len(changes.gone),
    unchanged=len(changes.same) + len(changes.touched),
    skipped=problems,
  )


def _report(problems: Mapping[str, str]) -> None:
  if problems:
    first = next(iter(problems.values()))
    logging.warning(
      'skipped %d images that cannot be read, listed in the index; the first: %s',
      *(len(problems), first),
    )
