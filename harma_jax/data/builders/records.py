"""Records as TFDS stores them: a `tf.train.Example` in protobuf's wire format.

It is written by hand, from parts that are joined once. Protobuf's class of it comes
with tensorflow_datasets, whose import takes each worker about a second; `features_of`
in `prepared.py` reads by that class.
"""

import functools
from collections.abc import Iterable, Sequence

# The numbers of fields, as `tensorflow/core/example/feature.proto` has them.
BYTES, INTEGERS = 1, 3


def record_of(
  *, image: bytes, image_file: str, captions: Sequence[str], rows: Iterable[int]
) -> bytes:
  """An example of the features of `captions.Captions`.

  Args:
    image: of a file.
    image_file: its name.
    captions: texts, at least one.
    rows: of the captions, not below 0.

  Returns:
    What protobuf writes of it; of its map of features every order is allowed, and this
    is the one of all folders that were prepared.
  """
  parts = [
    *_feature(b'caption_rows', INTEGERS, [b''.join(map(_varint, rows))]),
    *_feature(b'captions', BYTES, [text.encode() for text in captions]),
    *_feature(b'image_file', BYTES, [image_file.encode()]),
    *_feature(b'image', BYTES, [image]),
  ]
  return b''.join([_head(1, sum(map(len, parts))), *parts])


def _feature(name: bytes, kind: int, values: list[bytes]) -> list[bytes]:
  """An entry of the map of features, in parts: its key, and a list of one kind."""
  content = []
  for value in values:
    content += _head(1, len(value)), value
  return [_entry_head(name, kind, sum(map(len, content))), *content]


# Most sizes but those of pictures are those of records before.
@functools.lru_cache(maxsize=1024)
def _entry_head(name: bytes, kind: int, size: int) -> bytes:
  """What stands before the values of a feature, which take `size` bytes."""
  values = _head(kind, size)
  key = _head(1, len(name)) + name
  value = _head(2, len(values) + size)
  return _head(1, len(key + value + values) + size) + key + value + values


@functools.lru_cache(maxsize=1024)
def _head(number: int, length: int) -> bytes:
  """The tag and the length of a field that is a message, a text or bytes."""
  return bytes((number << 3 | 2,)) + _varint(length)


def _varint(value: int) -> bytes:
  """Seven bits a byte, the lowest first; all but the last have the highest bit set."""
  content = []
  while value > 127:
    content.append(value & 127 | 128)
    value >>= 7
  content.append(value)
  return bytes(content)
