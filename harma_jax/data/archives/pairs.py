"""Folders of `KEY.jpg` beside `KEY.txt` (or .caption, .json), as img2dataset's too."""

import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from harma_jax.data.archives.samples import (
  KNOWN,
  PICTURES,
  Member,
  Sample,
  key_and_ending,
  sample_of,
  size_problem,
)


class File(NamedTuple):
  """A file that may belong to a pair: its size, and what reads it."""

  name: str
  size: int
  read: Callable[[], bytes]


def read_pair_folder(path: pathlib.Path, *, asked: str) -> Iterator[Sample]:
  """The pictures of a folder in the order of their names; not of folders in it."""
  paths = [each for each in path.iterdir() if each.is_file()]
  files = [File(each.name, each.stat().st_size, each.read_bytes) for each in paths]
  return read_pairs(files, before=f'{path}/', asked=asked)


def has_pairs(names: Sequence[str]) -> bool:
  """Whether a picture has a text beside it, by the names of all files."""
  pictures, texts = set(), set()
  for name in names:
    key, ending = key_and_ending(name)
    if ending in KNOWN:
      (pictures if ending in PICTURES else texts).add(key)
  return not pictures.isdisjoint(texts)


def read_pairs(files: Sequence[File], *, before: str, asked: str) -> Iterator[Sample]:
  """The pictures among files in any order, one after another.

  Args:
    files: with names that have `/`; those of other endings are passed by.
    before: what messages put before a name.
    asked: what the user says of columns, for .json.
  """
  keyed = ((*key_and_ending(file.name), file) for file in files)
  known = sorted(each for each in keyed if each[1] in KNOWN)
  for _, group in itertools.groupby(known, key=lambda each: each[0]):
    members = [_read(key, ending, file) for key, ending, file in group]
    sample = sample_of(members, before=before, asked=asked)
    if sample:
      yield sample


def _read(key: str, ending: str, file: File) -> Member:
  problem = size_problem(ending, file.size)
  try:
    content = b'' if problem else file.read()
  except OSError as error:
    content, problem = b'', f'expected a file that can be read; {error}. Copy it anew.'
  return Member(key, ending, file.name, content, problem)
