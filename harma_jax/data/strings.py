"""Many texts in little memory: one block of UTF-8, and where each of them ends."""

import array
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

_ENCODING = 'utf-8', 'surrogatepass'  # names of files may hold half a character


class Strings(Sequence[str]):
  """A sequence of texts that takes their UTF-8 and 8 bytes each.

  A tuple of five million captions takes twice that, and a process that is sent one has
  to make each text anew.
  """

  def __init__(self, block: bytes | bytearray, ends: np.ndarray):
    """Of a block of UTF-8 and i64[n], where each text ends in it."""
    self._block, self._ends = block, ends

  def __len__(self) -> int:
    return len(self._ends)

  def __getitem__(self, row):
    if isinstance(row, slice):
      return pack(self._text(each) for each in range(*row.indices(len(self))))
    row = range(len(self))[row]  # counts from the end, or raises IndexError
    return self._text(row)

  def __iter__(self) -> Iterator[str]:
    start = 0
    for end in memoryview(self._ends):
      yield str(self._block[start:end], *_ENCODING)
      start = end

  def __eq__(self, other: object) -> bool:
    if not isinstance(other, Strings | tuple | list):
      return NotImplemented
    pairs = zip(self, other, strict=False)
    return len(self) == len(other) and all(own == text for own, text in pairs)

  __hash__ = None

  def __repr__(self) -> str:
    return f'<{len(self)} texts: {self[0]!r}, ...>' if len(self) else '<no texts>'

  def _text(self, row: int) -> str:
    start = self._ends[row - 1] if row else 0
    return str(self._block[start : self._ends[row]], *_ENCODING)


class Packer:
  """Collects texts one by one, for `Strings`."""

  def __init__(self, *, at_once: int = 4096):
    """At most `at_once` texts wait to be put into the block together."""
    self._block, self._ends = bytearray(), array.array('q')
    self._waiting, self._at_once = [], at_once

  def append(self, text: str) -> None:
    self._waiting.append(text)
    if len(self._waiting) == self._at_once:
      self._put()

  def strings(self) -> Strings:
    """What was collected; nothing may be appended after that."""
    self._put()
    return Strings(self._block, np.frombuffer(self._ends, np.int64))

  def _put(self) -> None:
    start, texts = len(self._block), self._waiting
    joined = ''.join(texts)
    self._block += joined.encode(*_ENCODING)
    of_a_byte = len(self._block) - start == len(joined)
    sizes = map(
      len, texts if of_a_byte else (text.encode(*_ENCODING) for text in texts)
    )
    self._ends.extend(itertools.accumulate(sizes, initial=start))
    del self._ends[-len(texts) - 1]  # the initial one
    self._waiting = []


def pack(texts: Iterable[str]) -> Strings:
  """Texts in little memory."""
  packer = Packer()
  for text in texts:
    packer.append(text)
  return packer.strings()


def json_parts(values: Sequence, *, at_once: int = 65536) -> Iterator[str]:
  """What `json.dumps(list(values))` gives, in parts that fit into memory."""
  yield '['
  for start in range(0, len(values), at_once):
    part = json.dumps(list(values[start : start + at_once]))
    yield ', ' * bool(start) + part[1:-1]
  yield ']'
