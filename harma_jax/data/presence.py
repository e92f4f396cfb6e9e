"""Which images of a table are on the disk, and what lies there under another name.

Each folder is listed once: on a network disk a call per image takes minutes.
"""

import array
import collections
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

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


def look_for(names: Iterable[str], *, root: pathlib.Path) -> Presence:
  """Looks for files below a folder; a link must not lead out of it.

  Args:
    names: of files relative to the folder, with `/`.
    root: the folder, which may itself be a link.
  """
  folders = collections.defaultdict(lambda: (array.array('q'), []))
  for row, name in enumerate(names):
    folder, _, file = name.rpartition('/')
    rows, files = folders[folder]
    rows.append(row)
    files.append(file)
  missing, outside = [], {}
  inside = root.resolve()
  for folder in list(folders):
    rows, files = folders.pop(folder)  # so that its names leave the memory
    present, links = _list_files(root / folder, inside=inside)
    for row, file in zip(rows, files, strict=True):
      if file not in present:
        missing.append(row)
      elif file in links:
        outside[row] = links[file]
  return Presence(sorted(missing), outside)


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


def _list_files(
  folder: pathlib.Path, *, inside: pathlib.Path
) -> tuple[set[str], dict[str, pathlib.Path]]:
  """The files of a folder, and where those really are that are not below `inside`."""
  try:
    folder_outside = not folder.resolve().is_relative_to(inside)
    with os.scandir(folder) as entries:
      present, links = set(), []
      for entry in entries:
        if entry.is_file():
          present.add(entry.name)
          # Only links are resolved: on a network disk a call per image takes minutes.
          if folder_outside or entry.is_symlink():
            links.append(entry.name)
  except (OSError, ValueError):  # ValueError: a name that no file can have
    return set(), {}
  targets = {name: (folder / name).resolve() for name in links}
  outside = {
    name: target
    for name, target in targets.items()
    if not target.is_relative_to(inside)
  }
  return present, outside
