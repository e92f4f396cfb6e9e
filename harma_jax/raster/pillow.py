"""Image files by Pillow: all that is not read by GDAL, or all where there is none."""

import contextlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from harma_jax.raster.formats import (
  JPEG2000,
  PNG16,
  TIFF,
  jpeg2000_bits,
  raster_kind,
  read_tiff_header,
)
from harma_jax.raster.how import How
from harma_jax.raster.limits import FORMATS, GDAL_IS_MISSING, TILING, check_size
from harma_jax.raster.stretch import (
  Stretch,
  fixed_stretch,
  make_table,
  percentile_stretch,
  to_bytes,
)

_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height
_DEEP = 'I;16'  # how the modes of 16-bit grey begin


class Decoded(NamedTuple):
  """An image as RGB, upright; `stretch` of what was not of 8 bits."""

  image: Image.Image
  stretch: Stretch | None


@contextlib.contextmanager
def open_image(file: BinaryIO, *, max_pixels: int) -> Iterator[Image.Image]:
  """An image of which the header has been read.

  Raises:
    ValueError: of more than `max_pixels`, or of a kind that only GDAL reads rightly.
  """
  kind = raster_kind(file)
  if kind == PNG16 or (kind == JPEG2000 and jpeg2000_bits(file) > 8):
    raise ValueError(f'16 bits a channel; {GDAL_IS_MISSING}')
  file.seek(0)
  try:
    image = Image.open(file, formats=FORMATS)
  except Image.DecompressionBombError as error:
    raise ValueError(f'{error} Instead {TILING}') from error
  except Image.UnidentifiedImageError as error:
    # Pillow's own words show the file object.
    words = 'cannot identify image file'
    if kind == TIFF:
      raise ValueError(f'{words}; {GDAL_IS_MISSING}') from error
    file.seek(0)
    why = '' if file.read(1) else ': it is empty'
    raise Image.UnidentifiedImageError(words + why) from error
  with image:
    check_size(*image.size, max_pixels=max_pixels)
    yield image


def upright_size(image: Image.Image) -> tuple[int, int]:
  """Width and height when turned as the file says."""
  # Of a TIFF, Pillow's header gives the size that it has when turned.
  turned = image.format != 'TIFF' and orientation_of(image) in _SIDEWAYS
  return image.size[::-1] if turned else image.size


def orientation_of(image: Image.Image) -> int:
  """How a file says that it is turned: EXIF's, 1 to 8."""
  orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
  return orientation if orientation in range(1, 9) else 1


def is_deep(image: Image.Image) -> bool:
  """Whether an image has more than 8 bits."""
  return image.mode.startswith(_DEEP)


def decode(image: Image.Image, file: BinaryIO, *, how: How) -> Decoded:
  """Decodes an opened image fully; see `data.images.decode_image`.

  Raises:
    ValueError: of a kind that only GDAL reads rightly.
    Exception: of Pillow.
  """
  negative = bits = 0
  if image.format == 'TIFF':
    place = file.tell()
    negative, bits = _check_tiff(file)
    file.seek(place)
  image.load()
  ImageOps.exif_transpose(image, in_place=True)
  if is_deep(image):
    return _stretched(np.asarray(image), how=how, negative=negative, bits=bits or 16)
  if image.mode in ('I', 'F'):
    raise ValueError(f'32 bits a channel or signed values; {GDAL_IS_MISSING}')
  if image.mode == 'P' and 'transparency' in image.info:
    image = image.convert('RGBA')
  return Decoded(image.convert('RGB'), None)


def _check_tiff(file: BinaryIO) -> tuple[bool, int]:
  """Whether 16-bit grey is a negative, which Pillow forgets, and its bits, or 0.

  Raises:
    ValueError: of a kind that Pillow decodes wrongly.
  """
  header = read_tiff_header(file)
  is_grey = len(header.bits) == 1
  deep = max(header.bits) > 8
  if deep and not is_grey:
    raise ValueError(f'{max(header.bits)} bits in several channels; {GDAL_IS_MISSING}')
  if header.ignored > 1:
    raise ValueError(f'both an orientation and a georeference; {GDAL_IS_MISSING}')
  return deep and header.photometric == 0, header.bits[0] if deep else 0


def _stretched(values: np.ndarray, *, how: How, negative: bool, bits: int) -> Decoded:
  values = values.astype(np.uint16)
  found = fixed_stretch(how.stretch, dtype=values.dtype, bits=bits)
  stretch = found or percentile_stretch(values[..., None])
  stretch = stretch.reversed() if negative else stretch
  table = make_table(stretch, dtype=values.dtype)
  grey = Image.fromarray(to_bytes(values, stretch, table=table))
  return Decoded(grey.convert('RGB'), stretch)
