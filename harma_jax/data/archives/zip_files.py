"""Zip files of pictures, with a table in them or with a text beside each picture."""

import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence

from harma_jax.data.annotation_files import ENDINGS, read_entries, splits_named
from harma_jax.data.archives.pairs import File, has_pairs, read_pairs
from harma_jax.data.archives.samples import (
  PICTURES,
  Sample,
  bad_sample,
  checked,
  key_and_ending,
  label_of,
  size_problem,
)
from harma_jax.data.entries import Entry, parse_row
from harma_jax.data.reading import Reading
from harma_jax.errors import UserError

# A table is read row by row, JSON whole.
MAX_TABLE_BYTES = 2 * 2**30


def read_zip(path: pathlib.Path, *, reading: Reading) -> Iterator[Sample]:
  """The pictures of a zip file: in the order of its tables, else of their names.

  Raises:
    UserError: it is no whole zip file, or holds neither a table nor pairs.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      infos = [info for info in archive.infolist() if not info.is_dir()]
      if has_pairs([info.filename for info in infos]):
        files = [_file(archive, info) for info in infos]
        yield from read_pairs(files, before=f'{path}, ', asked=reading.columns)
      else:
        yield from _by_tables(archive, infos, path=path, reading=reading)
  # NotImplementedError: of a version that zipfile does not know, which damage makes.
  except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
    raise UserError(
      f'{path}: expected a whole zip file; {error}. The file is damaged or was not '
      'copied to its end: copy it anew.'
    ) from error
  except OSError as error:
    raise UserError(
      f'{path}: expected a zip file that can be read; {error}. Copy it anew.'
    ) from error


def _file(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> File:
  return File(info.filename, info.file_size, lambda: _content(archive, info))


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
  """What a member holds; zipfile reads no more than the size that it gives.

  Raises:
    OSError: it is encrypted, damaged, or compressed in a way that is not known.
  """
  try:
    return archive.read(info)
  except (RuntimeError, zipfile.BadZipFile, zlib.error) as error:
    raise OSError(str(error)) from error


def _by_tables(
  archive: zipfile.ZipFile,
  infos: Sequence[zipfile.ZipInfo],
  *,
  path: pathlib.Path,
  reading: Reading,
) -> Iterator[Sample]:
  names = [info.filename for info in infos if _is_table(info)]
  if not names:
    raise UserError(
      f'{path}: expected pictures with a table of captions ({", ".join(ENDINGS)}), or '
      f'each beside its text (KEY.jpg, KEY.txt); found {len(infos):,} members and '
      'neither. Add the table, or unpack the pictures beside it into FOLDER/images.'
    )
  find = _finder(infos)
  for name in names:
    table = zipfile.Path(archive, name)
    split = (splits_named(table) or [None])[0]
    for entry in _rows_of(table, reading=reading):
      info = None if entry.problem else find(entry.image)
      own = entry if entry.split is not None else entry._replace(split=split)
      yield _sample(own, info, archive=archive)


def _rows_of(table: zipfile.Path, *, reading: Reading) -> Iterator[Entry]:
  """The rows of a table, see `_grouped`.

  Raises:
    OSError: it is encrypted, or compressed in a way that is not known.
  """
  try:
    return _grouped(read_entries(table, reading=reading))
  except RuntimeError as error:  # NotImplementedError is one
    raise OSError(str(error)) from error


def _is_table(info: zipfile.ZipInfo) -> bool:
  path = pathlib.PurePosixPath(info.filename)
  shown = not path.name.startswith('.') and info.file_size <= MAX_TABLE_BYTES
  return shown and path.suffix.lower() in ENDINGS


def _grouped(entries: Iterator[Entry]) -> Iterator[Entry]:
  """One entry of each picture and split with all its captions, bad ones as they are."""
  groups = {}
  for number, entry in enumerate(entries):
    try:
      row = parse_row(entry, path_of=label_of)
    except UserError as error:
      problem = str(error).removeprefix(f'{entry.place}: ')
      groups[number] = entry._replace(problem=problem)
      continue
    key = (row.image, entry.split)
    if key in groups:
      groups[key].captions.extend(row.captions)
    else:
      groups[key] = entry._replace(captions=list(row.captions), found=row.image)
  return iter(groups.values())


def _finder(
  infos: Sequence[zipfile.ZipInfo],
) -> Callable[[str], zipfile.ZipInfo | None]:
  """Gives the one member that a table means by a name, folders in front or not."""
  by_file = {}
  for info in infos:
    if key_and_ending(info.filename)[1] in PICTURES:
      by_file.setdefault(info.filename.rpartition('/')[2], []).append(info)

  def find(name: str) -> zipfile.ZipInfo | None:
    plain = name.removeprefix('./')
    same = by_file.get(plain.rpartition('/')[2], [])
    ends = [each for each in same if f'/{each.filename}'.endswith(f'/{plain}')]
    exact = [each for each in ends if each.filename == plain]
    found = exact or ends
    return found[0] if len(found) == 1 else None

  return find


def _sample(
  entry: Entry, info: zipfile.ZipInfo | None, *, archive: zipfile.ZipFile
) -> Sample:
  if entry.problem:
    return bad_sample(entry.place, entry.problem)
  if info is None:
    problem = f'expected one picture {entry.image!r} in the archive; found none or two.'
    return bad_sample(entry.place, f'{problem} Add it, or remove the row.')
  problem = size_problem('jpg', info.file_size)
  if problem:
    return bad_sample(f'{archive.filename}, {info.filename}', problem)
  try:
    return checked(entry, _content(archive, info))
  except OSError as error:
    place = f'{archive.filename}, {info.filename}'
    return bad_sample(
      place, f'expected a member that can be read; {error}. Replace it.'
    )
