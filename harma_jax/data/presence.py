"""Which images of a table are on the disk, and what lies there under another name.

Each folder is listed once: on a network disk a call per image takes minutes.
"""

import collections
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

# What differs between a name in a table and that of the file, as messages say it.
CASE, ENDING, FOLDER = 'case', 'ending', 'folder'

# Endings of images; what else lies beside them (world files, sidecars) is none.
IMAGE_ENDINGS = frozenset(
  ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.bmp', '.webp', '.jp2', '.gif')
)


class Presence(NamedTuple):
  """What became of the names of images below a folder, by their rows.

  Attributes:
    missing: rows that have no file, in order.
    outside: where the file of a row really is, for those outside of the folder.
  """

  missing: list[int]
  outside: dict[int, pathlib.Path]


class Alike(NamedTuple):
  """A file that may be meant by a name."""

  file: str
  kind: str  # what differs: CASE, ENDING or FOLDER, several with ` and `


def look_for(rows: Mapping[str, int], *, root: pathlib.Path) -> Presence:
  """Looks for files below a folder; a link must not lead out of it.

  Args:
    rows: of the names of files relative to the folder, with `/`: 0 to n - 1.
    root: the folder, which may itself be a link.
  """
  there, outside = np.zeros(len(rows), bool), {}
  inside = root.resolve()
  for folder in {name.rpartition('/')[0] for name in rows}:
    before = f'{folder}/' if folder else ''
    try:
      folder_outside = not (root / folder).resolve().is_relative_to(inside)
      with os.scandir(root / folder) as entries:
        for entry in entries:
          row = rows.get(before + entry.name)
          if row is None or not entry.is_file():
            continue
          there[row] = True
          # Only links are resolved: on a network disk a call per image takes minutes.
          if folder_outside or entry.is_symlink():
            target = (root / folder / entry.name).resolve()
            if not target.is_relative_to(inside):
              outside[row] = target
    except (OSError, ValueError):  # ValueError: a name that no file can have
      continue
  return Presence(np.flatnonzero(~there).tolist(), outside)


def find_alike(names: Iterable[str], *, root: pathlib.Path) -> dict[str, Alike]:
  """Files below a folder that differ from names in case, in ending or in the folder.

  Of several the one counts that differs least; names with several such are left out.

  Args:
    names: of files that are not there.
    root: the folder, all of which is walked through.
  """
  names = list(names)
  wanted = {_stem(name) for name in names}
  files = collections.defaultdict(list)
  for file in _walk(root):
    if _stem(file) in wanted and _ending(file) in IMAGE_ENDINGS:
      files[_stem(file)].append(file)
  found = ((name, _nearest(name, files[_stem(name)])) for name in names)
  return {name: alike for name, alike in found if alike}


def _nearest(name: str, files: Sequence[str]) -> Alike | None:
  ranked = sorted((_differences(name, file), file) for file in files)
  if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
    return None
  (apart, ending, _), file = ranked[0]
  kinds = [FOLDER] * (apart > 0 or '\\' in name) + [ENDING] * ending
  return Alike(file, ' and '.join(kinds or [CASE]))


def _differences(name: str, file: str) -> tuple[int, bool, bool]:
  """How many folders are not shared, and whether ending and case differ."""
  (*own, last), (*folders, other) = (_parts(path) for path in (name, file))
  pairs = zip(reversed(own), reversed(folders), strict=False)
  shared = sum(1 for _ in itertools.takewhile(_is_same, pairs))
  apart = max(len(own), len(folders)) - shared
  return apart, _ending(name) != _ending(file), last != other


def _is_same(pair: tuple[str, str]) -> bool:
  return pair[0].lower() == pair[1].lower()


def _parts(path: str) -> list[str]:
  return path.replace('\\', '/').split('/')


def _stem(path: str) -> str:
  """The name of a file as it is compared, without folders and ending."""
  return os.path.splitext(_parts(path)[-1])[0].lower()


def _ending(path: str) -> str:
  return os.path.splitext(path)[1].lower()


def _walk(root: pathlib.Path) -> Iterator[str]:
  """All files below a folder, relative to it; links are not followed."""
  for folder, _, files in os.walk(root):
    below = os.path.relpath(folder, root)
    for file in files:
      if not os.path.islink(os.path.join(folder, file)):
        yield file if below == '.' else f'{below}/{file}'.replace(os.sep, '/')
