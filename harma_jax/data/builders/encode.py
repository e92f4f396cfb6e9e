"""Image files into the bytes of a JPEG or PNG, without a change of any pixel."""

import io
import os
import pathlib

from PIL import ExifTags, Image

from harma_jax.data.images import MAX_PIXELS, read_image
from harma_jax.raster.formats import raster_kind
from harma_jax.raster.how import DEFAULT, How
from harma_jax.raster.scene import ImageFile

KEPT = ('JPEG', 'PNG')
JPEG_MARK, PNG_MARK = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'

# Images that are encoded ahead and wait in memory to be written.
AHEAD = 64

# Against Pillow's 6: about the same size on aerial images, and quicker.
PNG_LEVEL = 3


def encode_image_file(
  path: str | os.PathLike | ImageFile,
  *,
  how: How = DEFAULT,
  max_pixels: int = MAX_PIXELS,
) -> bytes:
  """The bytes of a JPEG or PNG in RGB whose pixels are those of
  `read_image(path, how=how)`.

  A JPEG or PNG file in RGB is kept byte for byte, unless it says that it is to be
  turned. Everything else (TIFF, grey, a palette, alpha, 16 bits) becomes a PNG,
  which loses nothing.

  Raises:
    UserError: the file is missing, cannot be decoded to its end, or has too many
      pixels.
  """
  file = pathlib.Path(path) if isinstance(path, str | os.PathLike) else path
  image = read_image(file, how=how, max_pixels=max_pixels)
  if _is_kept(file):
    return file.read_bytes()
  encoded = io.BytesIO()
  image.save(encoded, 'PNG', compress_level=PNG_LEVEL)
  return encoded.getvalue()


def encode_unchecked(file: ImageFile, **settings) -> bytes:
  """A JPEG or PNG as it is, told by its first bytes; others by `encode_image_file`.

  Whether it can be decoded shows when it is read; so does grey, or that it is turned.
  """
  content = file.read_bytes()
  if content.startswith((JPEG_MARK, PNG_MARK)):
    return content
  return encode_image_file(file, **settings)


def _is_kept(path: ImageFile) -> bool:
  with path.open('rb') as file:
    if raster_kind(file):
      return False
    with Image.open(file) as header:
      upright = header.getexif().get(ExifTags.Base.Orientation, 1) == 1
      return header.format in KEPT and header.mode == 'RGB' and upright
