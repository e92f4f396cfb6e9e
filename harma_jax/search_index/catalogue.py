"""What an index knows of each file, as a log of changes.

  catalogue/0000000001-1f0c....json ...   each: some files, and where their rows lie

An entry is written in one move after the shard that it speaks of, and never changed.
The entries in their order say how things are: the last word on a file counts. So what
is there is whole at any moment, and several machines write without waiting for each
other. `condense` makes one entry of all.
"""

import dataclasses
import json
import pathlib
import re
import uuid
from collections.abc import Mapping, Sequence

from harma_jax.errors import UserError
from harma_jax.search_index.storage import replacing

FOLDER = 'catalogue'
TRIES = 10  # to read it while another program condenses it


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
  """What is known of one file.

  Attributes:
    size: in bytes, when it was read.
    mtime_ns: time of its last change then.
    sha256: of its content; empty where it was not asked for.
    shard: name of the shard that holds its rows; empty where it has none.
    start: of its rows in the shard.
    rows: how many there are.
    facts: how it was read.
    dropped: reason -> number of boxes left out.
    error: what is wrong with it, or empty.
  """

  size: int
  mtime_ns: int
  sha256: str = ''
  shard: str = ''
  start: int = 0
  rows: int = 0
  facts: Mapping = dataclasses.field(default_factory=dict)
  dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
  error: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalogue:
  """The state of an index.

  Attributes:
    files: by name, relative to the folder of images, sorted.
    found: how many images the folder held when an index command last looked; 0 where
      none did.
    entries: names of the entries that say so.
  """

  files: Mapping[str, File]
  found: int = 0
  entries: Sequence[str] = ()

  @property
  def missing(self) -> int:
    """How many images have not been read yet."""
    return max(self.found - len(self.files), 0)


def read_catalogue(folder: pathlib.Path) -> Catalogue:
  """The state of the index in `folder`; empty where nothing has been written.

  Raises:
    UserError: an entry cannot be read.
  """
  for _ in range(TRIES):
    try:
      return _replayed(folder / FOLDER)
    except FileNotFoundError:
      continue  # Another program has just condensed it.
  raise UserError(
    f'--index: expected a catalogue that can be read; entries of {folder / FOLDER} '
    'vanish meanwhile. Wait until the program that changes the index ends.'
  )


def write_entry(
  folder: pathlib.Path,
  files: Mapping[str, File | None],
  *,
  found: int,
  whole: bool = False,
) -> str:
  """Writes an entry in one move; returns its name.

  Args:
    folder: of the index.
    files: what is known from now on; None for a file that is gone.
    found: see `Catalogue`.
    whole: whether what earlier entries say is void.
  """
  facts = {}  # Most files are read alike; each way is written once.
  records = {name: file and _record(file, facts=facts) for name, file in files.items()}
  ways = [json.loads(key) for key in facts]
  content = {'found': found, 'whole': whole, 'facts': ways}
  (folder / FOLDER).mkdir(exist_ok=True)
  numbers = [int(name.split('-')[0]) for name in _names(folder / FOLDER)]
  name = f'{max(numbers, default=0) + 1:010}-{uuid.uuid4().hex[:12]}.json'
  with replacing(folder / FOLDER / name) as new:
    new.write_text(json.dumps(content | {'files': records}, separators=(',', ':')))
  return name


def condense(folder: pathlib.Path, catalogue: Catalogue) -> None:
  """Makes one entry of all; no other program may write meanwhile."""
  write_entry(folder, catalogue.files, found=catalogue.found, whole=True)
  for name in catalogue.entries:
    (folder / FOLDER / name).unlink(missing_ok=True)


def _replayed(folder: pathlib.Path) -> Catalogue:
  names = _names(folder)
  files, found, used = {}, 0, []
  for name in reversed(names):
    content = _read_entry(folder / name)
    used.append(name)
    found = found or content['found']
    facts = content['facts']
    for file, record in content['files'].items():
      files.setdefault(file, record and _file(record, facts=facts))
    if content['whole']:
      break
  known = {name: files[name] for name in sorted(files) if files[name] is not None}
  return Catalogue(files=known, found=found, entries=names)


def _names(folder: pathlib.Path) -> list[str]:
  """Of the entries, in their order."""
  if not folder.is_dir():
    return []
  found = (path.name for path in folder.iterdir())
  return sorted(name for name in found if re.fullmatch(r'\d{10}-\w+\.json', name))


def _read_entry(path: pathlib.Path) -> dict:
  try:
    content = json.loads(path.read_text())
    return {name: content[name] for name in ('found', 'whole', 'facts', 'files')}
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(
      f'--index: expected an entry of a catalogue; {path} is damaged: {error}. Remove '
      'it; the command that made the index reads those files again.'
    ) from error


def _record(file: File, *, facts: dict[str, int]) -> dict:
  """`file` without what is as it is by default, its facts as their number."""
  record = {
    field.name: getattr(file, field.name)
    for field in dataclasses.fields(file)
    if field.name != 'facts' and getattr(file, field.name)
  }
  if file.facts:
    key = json.dumps(file.facts, sort_keys=True)
    record['facts'] = facts.setdefault(key, len(facts))
  return record


def _file(record: Mapping, *, facts: Sequence[Mapping]) -> File:
  values = {'size': 0, 'mtime_ns': 0, **record}
  if 'facts' in record:
    values['facts'] = facts[record['facts']]
  return File(**values)
