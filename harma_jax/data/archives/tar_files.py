"""Tar shards of WebDataset's form: the members of a picture share a key.

img2dataset writes `KEY.jpg`, `KEY.txt` and `KEY.json`; RS5M has `KEY.img_content`,
`KEY.img_name` and `KEY.caption`. Members of one key lie side by side, so that a shard
is read once, from its beginning to its end, and never held.
"""

import itertools
import pathlib
import re
import sys
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from harma_jax.data.archives.samples import (
  KNOWN,
  Member,
  Sample,
  key_and_ending,
  sample_of,
  size_problem,
)
from harma_jax.errors import UserError

_GZIP = b'\x1f\x8b'
# The header of a file as POSIX and GNU write it: name, size and checksum of octal
# digits. A long name has its beginning in the 155 bytes that are empty here.
_PLAIN = re.compile(
  rb'(.{100}).{24}([0-7]{11})[ \0].{12}([0-7]{6})..[0\0].{100}ustar.{83}\0.{166}',
  re.DOTALL,
)


def read_tar(path: pathlib.Path, *, asked: str) -> Iterator[Sample]:
  """The pictures of a shard, compressed or not, in the order of its members.

  Raises:
    UserError: it is no tar, or breaks off; says after which member.
  """
  last = ''

  def noted(members: Iterator[Member]) -> Iterator[Member]:
    nonlocal last
    for member in members:
      last = member.name
      yield member

  try:
    with path.open('rb', buffering=2**20) as file, _opened(file) as tar:
      members = noted(_members(tar))
      for _, group in itertools.groupby(members, key=lambda each: each.key):
        sample = sample_of(list(group), before=f'{path}, ', asked=asked)
        if sample:
          yield sample
      _check_end(tar)
  except (tarfile.TarError, EOFError, zlib.error) as error:
    where = f'after {last}' if last else 'at its beginning'
    raise UserError(
      f'{path}: expected a whole tar shard; {where}: {error}. The file is damaged or '
      'was not copied to its end: copy it anew.'
    ) from error
  except OSError as error:
    raise UserError(
      f'{path}: expected a tar shard that can be read; {error}. Copy it anew.'
    ) from error


def _opened(file: BinaryIO) -> tarfile.TarFile:
  compressed = file.read(len(_GZIP)) == _GZIP
  file.seek(0)
  mode = 'r:gz' if compressed else 'r:'
  return tarfile.open(fileobj=file, mode=mode, encoding='utf-8')


def _members(tar: tarfile.TarFile) -> Iterator[Member]:
  """Those of known endings; what they hold is read at once, as the shard goes on."""
  for info in _headers(tar):
    key, ending = key_and_ending(info.name)
    if info.isdir() or ending not in KNOWN:
      continue
    problem = size_problem(ending, info.size)
    if not info.isreg():
      problem = 'expected a file; found a link or a device. Store the file itself.'
    content = b'' if problem else _content(tar, info)
    yield Member(key, ending, info.name, content, problem)


def _headers(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
  """Those of all members; tarfile reads what is not plain, and takes thrice as long."""
  info = tar.next()  # what it read when it was opened
  while info:
    tar.members = []  # else it keeps them all
    if not info.offset < tar.offset <= sys.maxsize:  # one below 0 would never end
      raise tarfile.ReadError(f'{info.name} of {info.size:,} bytes')
    yield info
    info = _next_plain(tar) or tar.next()


def _next_plain(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
  """The next header where it is a file's of which nothing stands elsewhere."""
  if tar.pax_headers:  # which hold for all that follow
    return None
  tar.fileobj.seek(tar.offset)
  info = _plain_header(tar.fileobj.read(tarfile.BLOCKSIZE))
  if info:
    info.offset, info.offset_data = tar.offset, tar.offset + tarfile.BLOCKSIZE
    tar.offset = info.offset_data + info.size + -info.size % tarfile.BLOCKSIZE
  return info


def _plain_header(block: bytes) -> tarfile.TarInfo | None:
  """Name and size alone: owners and times are most of what tarfile takes."""
  found = _PLAIN.fullmatch(block)
  if not found:
    return None
  name, size, checksum = found.groups()
  # Of bytes whose sum is below 65,521, the low half of Adler-32 is that sum plus 1.
  counted = block[:148] + b' ' * 8 + block[156:]
  if zlib.adler32(counted) & 0xFFFF != int(checksum, 8) + 1:
    return None
  info = tarfile.TarInfo(name.partition(b'\0')[0].decode(errors='surrogateescape'))
  info.size = int(size, 8)
  return info


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
  """What a member holds, read at once."""
  if info.issparse():
    return tar.extractfile(info).read()
  tar.fileobj.seek(info.offset_data)
  content = tar.fileobj.read(info.size)
  if len(content) < info.size:
    raise tarfile.ReadError('unexpected end of data')
  return content


def _check_end(tar: tarfile.TarFile) -> None:
  """A whole shard ends with a block of zeros.

  One that was cut between two members, or has a damaged header, ends without a word
  for tarfile.
  """
  tar.fileobj.seek(tar.offset)
  if tar.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
    raise tarfile.ReadError('neither a member nor the mark of the end follows')
