"""What an image file is by its first bytes, and what its header says beyond GDAL."""

import importlib.util
import struct
from typing import BinaryIO, NamedTuple

from PIL import TiffImagePlugin

TIFF, JPEG2000, PNG16 = 'TIFF', 'JPEG2000', '16-bit PNG'

# No other driver runs: each more is one more that a stranger's file can attack. PNG
# only where Pillow would cut 16 bits to 8.
DRIVERS = {TIFF: 'GTiff', JPEG2000: 'JP2OpenJPEG', PNG16: 'PNG'}

TIFF_STARTS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_MAGICS = {
  TIFF: TIFF_STARTS,
  JPEG2000: (b'\0\0\0\x0cjP  \r\n\x87\n', b'\xff\x4f\xff\x51'),
}
_HEAD = 26  # bytes; those of a PNG up to its kind of colour
_CODESTREAM = b'\xff\x4f\xff\x51'

LAB = 8  # colours of TIFF that Pillow converts, and GDAL does not

ORIENTATION, PHOTOMETRIC, BITS, SAMPLE_FORMAT = 274, 262, 258, 339
# Model transformations, tie points, keys, and the coefficients of RPCs.
GEOREFERENCES = (33550, 33922, 34264, 34735, 50844)


class TiffHeader(NamedTuple):
  """What the first directory of a TIFF says.

  Attributes:
    bits: of each sample.
    is_unsigned: integers without a sign.
    photometric: TIFF 6.0's number.
    orientation: 1 to 8; 1 where the file has a georeference, which counts rows and
      columns as they are stored.
    ignored: the orientation that is not applied for that reason, else 1.
  """

  bits: tuple[int, ...]
  is_unsigned: bool
  photometric: int
  orientation: int
  ignored: int


def has_gdal() -> bool:
  """Whether rasterio is installed; it is not imported."""
  return importlib.util.find_spec('rasterio') is not None


def raster_kind(file: BinaryIO) -> str:
  """One of `DRIVERS`, or '' for what Pillow reads alone; `file` stays where it was."""
  start = file.tell()
  head = file.read(_HEAD)
  file.seek(start)
  for kind, magics in _MAGICS.items():
    if head.startswith(magics):
      return kind
  is_png = head.startswith(b'\x89PNG\r\n\x1a\n')
  # Grey of 16 bits Pillow reads in full.
  return PNG16 if is_png and head[24:25] == b'\x10' and head[25] != 0 else ''


def read_tiff_header(file: BinaryIO) -> TiffHeader:
  """Raises ValueError and the like where there is no directory."""
  file.seek(0)
  head = file.read(8)
  head += file.read(8) if head[2:3] == b'+' or head[3:4] == b'+' else b''
  tags = TiffImagePlugin.ImageFileDirectory_v2(head)
  file.seek(tags.next)
  tags.load(file)
  turned = tags.get(ORIENTATION, 1)
  turned = turned if turned in range(1, 9) else 1
  placed = any(tag in tags for tag in GEOREFERENCES)
  bits = tags.get(BITS, (1,))
  return TiffHeader(
    bits=tuple(bits) if isinstance(bits, tuple) else (bits,),
    is_unsigned=set(tags.get(SAMPLE_FORMAT, (1,))) <= {1, 4},
    photometric=tags.get(PHOTOMETRIC, 1),
    orientation=1 if placed else turned,
    ignored=turned if placed else 1,
  )


def jpeg2000_bits(file: BinaryIO) -> int:
  """Bits of the deepest component, from the codestream's SIZ; 8 where none is found."""
  file.seek(0)
  head = file.read(2**16)
  start = head.find(_CODESTREAM)
  if start < 0 or len(head) < start + 42:
    return 8
  [count] = struct.unpack_from('>H', head, start + 40)
  depths = head[start + 42 : start + 42 + 3 * count : 3]
  return max((depth % 128 + 1 for depth in depths), default=8)
