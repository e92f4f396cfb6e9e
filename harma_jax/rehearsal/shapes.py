"""Arrays in the text of a compiled program, and how many bytes they lie in."""

import dataclasses
import math
import re

ARRAY = re.compile(r'([a-z]\w*)\[([\d,]*)\](?:\{([\d,]*)(?::([^}]*))?\})?')
BITS = {'pred': 8, 'token': 0, 'bf16': 16, 'c64': 64, 'c128': 128}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Array:
  """As `bf16[107,77,512]{2,1,0:T(8,128)(2,1)S(1)}` tells.

  Attributes:
    dtype: the name of XLA.
    dims: the lengths of its axes.
    order: the axes, the fastest one first.
    tile: in whole multiples of which the fastest axes lie, the fastest one last.
    space: of memory; 0 is the main one, 1 of a TPU is that beside its units.
  """

  dtype: str
  dims: tuple[int, ...]
  order: tuple[int, ...]
  tile: tuple[int, ...]
  space: int

  @property
  def bits(self) -> int:
    """Of an element."""
    if self.dtype in BITS:
      return BITS[self.dtype]
    return int(re.match(r'[a-z]+(\d+)', self.dtype)[1])

  @property
  def bytes(self) -> int:
    """Of its elements."""
    return math.prod(self.dims) * self.bits // 8

  @property
  def padded_bytes(self) -> int:
    """Of whole tiles, in which a TPU keeps it."""
    lengths = [self.dims[axis] for axis in self.order]
    for i, least in enumerate(reversed(self.tile)):
      if i < len(lengths):
        lengths[i] = math.ceil(lengths[i] / least) * least
    return math.prod(lengths) * self.bits // 8


def arrays_of(shape: str) -> list[Array]:
  """The arrays of a shape's text, of which a tuple has several."""
  return [_array(*match.groups()) for match in ARRAY.finditer(shape)]


def _array(dtype: str, dims: str, order: str | None, layout: str | None) -> Array:
  lengths = _numbers(dims)
  tile = re.match(r'T\(([\d,]*)\)', layout or '')
  space = re.search(r'S\((\d+)\)', layout or '')
  return Array(
    dtype=dtype,
    dims=lengths,
    order=_numbers(order or '') or tuple(reversed(range(len(lengths)))),
    tile=_numbers(tile[1]) if tile else (),
    space=int(space[1]) if space else 0,
  )


def _numbers(text: str) -> tuple[int, ...]:
  return tuple(int(n) for n in text.split(',') if n)
