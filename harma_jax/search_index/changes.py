"""What differs between a folder of images and what an index knows of it."""

import hashlib
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from harma_jax.search_index.catalogue import File


class Changes(NamedTuple):
  """Names of files by what has become of them.

  Attributes:
    new: are not in the index.
    changed: are others now.
    failed: could not be read before.
    gone: are not in the folder any more.
    touched: have the content that they had, but another time, or a hash to note.
    same: are as they were.
    states: size, time and hash now, of all but those gone.
  """

  new: list[str]
  changed: list[str]
  failed: list[str]
  gone: list[str]
  touched: list[str]
  same: list[str]
  states: dict[str, File]

  @property
  def todo(self) -> list[str]:
    """Those to be read, sorted."""
    return sorted([*self.new, *self.changed, *self.failed])


def find_changes(
  names: Sequence[str],
  known: Mapping[str, File],
  *,
  images: pathlib.Path,
  shards: Collection[str],
  verify: bool = False,
) -> Changes:
  """Compares files by size and time.

  Args:
    names: of the images in the folder.
    known: what an index says of files.
    images: the folder.
    shards: that are there; the rows of others are lost.
    verify: compare the content too, by SHA-256. Where none has been noted, it is.
  """
  changes = Changes([], [], [], [], [], [], {})
  for name in names:
    state = state_of(images / name, verify=verify)
    if state is None:  # It has vanished since the folder was listed.
      continue
    changes.states[name] = state
    kind = _kind(known.get(name), state, path=images / name, shards=shards)
    getattr(changes, kind).append(name)
  changes.gone.extend(sorted(known.keys() - changes.states.keys()))
  return changes


def share_of(names: Sequence[str], share: tuple[int, int]) -> list[str]:
  """The names that fall to machine `i` of `(i, n)`, whatever others there are."""
  own, count = share
  return [name for name in names if _number(name) % count == own]


def state_of(path: pathlib.Path, *, verify: bool = False) -> File | None:
  """Size and time of a file, with `verify` the hash of its content; None for none."""
  try:
    found = path.stat()
    sha256 = _sha256(path) if verify else ''
  except FileNotFoundError:
    return None
  except OSError:  # Reading it will say what is wrong.
    return File(size=0, mtime_ns=0)
  return File(size=found.st_size, mtime_ns=found.st_mtime_ns, sha256=sha256)


def is_same_state(one: File, other: File) -> bool:
  """Whether size and time are equal."""
  return (one.size, one.mtime_ns) == (other.size, other.mtime_ns)


def _kind(
  old: File | None, now: File, *, path: pathlib.Path, shards: Collection[str]
) -> str:
  if old is None:
    return 'new'
  if old.error:
    return 'failed'
  if old.rows and old.shard not in shards:
    return 'changed'
  if is_same_state(old, now):
    if old.sha256 and now.sha256 and old.sha256 != now.sha256:
      return 'changed'
    return 'touched' if now.sha256 and not old.sha256 else 'same'
  if old.sha256 and old.size == now.size:
    same = old.sha256 == (now.sha256 or _sha256(path))
    return 'touched' if same else 'changed'
  return 'changed'


def _number(name: str) -> int:
  """The same on all machines; names that differ in a digit are far apart."""
  digest = hashlib.blake2b(name.encode(errors='surrogateescape'), digest_size=8)
  return int.from_bytes(digest.digest(), 'big')


def _sha256(path: pathlib.Path) -> str:
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
