"""Which archives a source has: their kinds, their order, and the splits they name."""

import collections
import dataclasses
import glob
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence

from harma_jax.data.annotation_files import (
  SPLIT_WORDS,
  WANTED,
  listing,
  require_folder,
)
from harma_jax.data.archives.hub import download, is_on_hub
from harma_jax.data.archives.pairs import has_pairs, read_pair_folder
from harma_jax.data.archives.parquet_files import (
  holds_pictures,
  read_parquet_pictures,
)
from harma_jax.data.archives.samples import MAX_PICTURE_BYTES, Sample
from harma_jax.data.archives.tar_files import read_tar
from harma_jax.data.archives.zip_files import read_zip
from harma_jax.data.reading import Reading, say_once
from harma_jax.errors import UserError

TAR, PARQUET, ZIP, PAIRS = 'tar', 'parquet', 'zip', 'folder of pairs'

# The first kind that a folder has counts: img2dataset puts tables beside its tars.
ENDINGS = {
  TAR: ('.tar', '.tar.gz', '.tgz'),
  PARQUET: ('.parquet',),
  ZIP: ('.zip',),
}

# What shards call the split that tables call `val`.
_SAME = {'valid': 'val', 'validation': 'val', 'dev': 'val'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """A part of a source that is read by itself.

  Attributes:
    path: of a file, or of a folder of pairs.
    kind: `TAR`, `PARQUET`, `ZIP` or `PAIRS`.
    label: what its pictures' names begin with; '' where it is the only one.
    split: that its name tells; '' for none.
    folders: where pictures lie that it only names, in order.
  """

  path: pathlib.Path
  kind: str
  label: str
  split: str
  folders: tuple[pathlib.Path, ...]

  @property
  def n_bytes(self) -> int:
    """What the source has of it, to tell whether it is the same again."""
    files = self.path.iterdir() if self.kind == PAIRS else [self.path]
    return sum(each.stat().st_size for each in files if each.is_file())


def names_archives(source: str, *, annotations: str) -> bool:
  """Whether a source is of archives, and not annotations and a folder of images."""
  if annotations != 'auto':
    return False
  if is_on_hub(source) or not os.path.isdir(os.path.expanduser(source)):
    return is_on_hub(source) or _is_pattern(source) or _kind_of(source) is not None
  root = pathlib.Path(source).expanduser()
  return not _has_table(root) and _in_folder(root) is not None


def find_shards(source: str, *, images: str = 'images') -> list[Shard]:
  """The shards of a file, a pattern, a folder or a data set of the hub, in order.

  Args:
    source: what the user gave.
    images: the folder of pictures that tables only name, relative to the source.

  Raises:
    UserError: there is none.
  """
  if is_on_hub(source):
    return find_shards(os.fspath(download(source)), images=images)
  path = pathlib.Path(source).expanduser()
  if path.is_dir():
    kind, paths = _in_folder(path) or (None, [])
    root = path
  else:
    found = sorted(glob.glob(os.fspath(path), recursive=True))
    paths = [pathlib.Path(each) for each in found if _kind_of(each)]
    root = _common_folder(paths) if paths else path.parent
    kind = None
  if not paths:
    raise _no_shards(path, root=root)
  folders = (root / images, root)
  return [
    _shard(each, root=root, kind=kind, folders=folders, alone=len(paths) == 1)
    for each in paths
  ]


def read_shard(shard: Shard, *, reading: Reading) -> Iterator[Sample]:
  """The pictures of a shard, one after another.

  Raises:
    UserError: while iterating: the shard cannot be read.
  """
  asked = reading.columns
  if shard.kind == TAR:
    return read_tar(shard.path, asked=asked)
  if shard.kind == ZIP:
    return read_zip(shard.path, reading=reading)
  if shard.kind == PAIRS:
    return read_pair_folder(shard.path, asked=asked)
  return read_parquet_pictures(shard.path, asked=asked, read_file=_reader(shard))


def split_named(name: str) -> str:
  """The split that a path names, the last word of several; '' for none."""
  words = re.split(r'[^a-z0-9]+', name.lower())
  named = [word for word in words if word in SPLIT_WORDS]
  return split_called(named[-1]) if named else ''


def split_of_folder(name: str) -> str:
  """The split that a picture's folder in an archive is called after; '' for none."""
  folders = name.lower().split('/')[:-1]
  return next((each for each in reversed(folders) if each in SPLIT_WORDS), '')


def split_called(name: str) -> str:
  """A split by the name that training asks for: `val` for `validation`."""
  return _SAME.get(name, name)


def _reader(shard: Shard):
  """Reads a picture that a table names, out of the folders of its shard."""
  folders = [folder.resolve() for folder in (*shard.folders, shard.path.parent)]

  def read(name: str) -> bytes | None:
    for folder in folders:
      path = (folder / name).resolve()
      if path.is_relative_to(folder) and path.is_file():
        too_large = path.stat().st_size > MAX_PICTURE_BYTES
        return None if too_large else path.read_bytes()
    return None

  return read


def _in_folder(root: pathlib.Path) -> tuple[str, list[pathlib.Path]] | None:
  """The kind of shards that a folder has, and where they are; None for none."""
  found, folders = collections.defaultdict(list), []
  for folder, names in _walk(root):
    for name in names:
      kind = _kind_of(name)
      if kind:
        found[kind].append(folder / name)
    if not found and has_pairs(names):
      folders.append(folder)
  for kind in ENDINGS:
    if found[kind]:
      others = sum(len(paths) for other, paths in found.items() if other != kind)
      rest = f'; {others:,} others are not read' if others else ''
      say_once(f'{root}: {len(found[kind]):,} shards, {kind}{rest}')
      return kind, sorted(found[kind])
  return (PAIRS, sorted(folders)) if folders else None


def _walk(root: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str]]]:
  for folder, folders, names in os.walk(root):
    folders[:] = sorted(name for name in folders if not name.startswith('.'))
    yield pathlib.Path(folder), [name for name in names if not name.startswith('.')]


def _has_table(root: pathlib.Path) -> bool:
  """Whether annotations lie in a folder, as `auto` finds them, that name images."""
  names = (name.replace('{split}', word) for word in SPLIT_WORDS for name in _WANTED)
  paths = {path for name in names for path in root.glob(name) if path.is_file()}
  parquet = {path for path in paths if path.suffix == '.parquet'}
  return bool(paths - parquet) or any(not holds_pictures(each) for each in parquet)


_WANTED: Sequence[str] = tuple(name for kind in WANTED for name in kind)


def _kind_of(name: str | os.PathLike) -> str | None:
  lower = os.fspath(name).lower()
  return next((kind for kind, ends in ENDINGS.items() if lower.endswith(ends)), None)


def _is_pattern(source: str) -> bool:
  return glob.has_magic(source) and not os.path.exists(source)


def _common_folder(paths: Iterable[pathlib.Path]) -> pathlib.Path:
  return pathlib.Path(os.path.commonpath([path.parent for path in paths]))


def _shard(
  path: pathlib.Path,
  *,
  root: pathlib.Path,
  kind: str | None,
  folders: tuple[pathlib.Path, ...],
  alone: bool,
) -> Shard:
  kind = kind or _kind_of(path)
  name = path.relative_to(root).as_posix()
  for ending in ENDINGS.get(kind, ()):
    name = name[: -len(ending)] if name.lower().endswith(ending) else name
  label = '' if alone or name == '.' else name
  return Shard(
    path=path, kind=kind, label=label, split=split_named(name), folders=folders
  )


def _no_shards(path: pathlib.Path, *, root: pathlib.Path) -> UserError:
  require_folder(root, field='data.root', what='the folder of the data set')
  return UserError(
    f'{path}: expected tar shards, parquet or zip files of pictures, or a folder of '
    f'KEY.jpg beside KEY.txt; found none. {root} holds: {listing(root)}. Name others '
    "with --source: a folder, a file, or a pattern such as 'FOLDER/*.tar'."
  )
