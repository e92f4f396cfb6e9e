"""Image files into the bytes of a JPEG or PNG, without a change of any pixel."""

import io
import os
import pathlib

from PIL import ExifTags, Image

from harma_jax.data.images import read_image
from harma_jax.raster.formats import raster_kind
from harma_jax.raster.how import DEFAULT, How

KEPT = ('JPEG', 'PNG')

# Against Pillow's 6: about the same size on aerial images, and quicker.
PNG_LEVEL = 3


def encode_image_file(path: str | os.PathLike, *, how: How = DEFAULT) -> bytes:
  """The bytes of a JPEG or PNG in RGB whose pixels are those of
  `read_image(path, how=how)`.

  A JPEG or PNG file in RGB is kept byte for byte, unless it says that it is to be
  turned. Everything else (TIFF, grey, a palette, alpha, 16 bits) becomes a PNG,
  which loses nothing.

  Raises:
    UserError: the file is missing, or cannot be decoded to its end.
  """
  image = read_image(path, how=how)
  if _is_kept(path):
    return pathlib.Path(path).read_bytes()
  encoded = io.BytesIO()
  image.save(encoded, 'PNG', compress_level=PNG_LEVEL)
  return encoded.getvalue()


def _is_kept(path: str | os.PathLike) -> bool:
  with pathlib.Path(path).open('rb') as file:
    if raster_kind(file):
      return False
    with Image.open(file) as header:
      upright = header.getexif().get(ExifTags.Base.Orientation, 1) == 1
      return header.format in KEPT and header.mode == 'RGB' and upright
