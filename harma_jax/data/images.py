"""Image files to pixels: reading, the evaluation resize, CLIP's normalisation."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from PIL import ExifTags, Image, ImageOps

from harma_jax.errors import UserError

# OpenAI's constants, used by all CLIP weights here; red, green, blue in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# The formats of remote-sensing folders, told by content and not by the file's ending.
# No other parser runs: each more is one more that a stranger's file can attack.
FORMATS = ('JPEG', 'PNG', 'TIFF', 'BMP', 'WEBP', 'JPEG2000')

# 268 MB as RGB; from here on Pillow warns of a decompression bomb.
MAX_PIXELS = 89_478_485

_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height

_TILING = (
  'cut it into tiles of about the size that the model sees and annotate those (or, '
  'where the host has the memory, raise max_pixels, up to 178,956,970)'
)


class ImageFile(Protocol):
  """A `pathlib.Path`, or what opens like one and is shown as one by `str`."""

  def open(self, mode: str) -> BinaryIO: ...

  def read_bytes(self) -> bytes: ...


def read_image(
  path: str | os.PathLike | ImageFile, *, max_pixels: int = MAX_PIXELS
) -> Image.Image:
  """Reads an image file and decodes it fully, as RGB: `decode_image` of a path.

  Raises:
    UserError: as `decode_image`, or no such file.
  """
  with _open_file(path) as file:
    return decode_image(file, name=str(path), max_pixels=max_pixels)


def read_size(
  path: str | os.PathLike | ImageFile, *, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
  """Width and height, upright, from an image file's header.

  Raises:
    UserError: no such file, not an image of these formats, or of too many pixels.
  """
  with _open_file(path) as file, _readable(str(path)), _open(file) as image:
    _check_size(image, max_pixels=max_pixels)
    # Of a TIFF, Pillow's header gives the size that it has when turned.
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    turned = image.format != 'TIFF' and orientation in _SIDEWAYS
    return image.size[::-1] if turned else image.size


def decode_image(
  file: str | os.PathLike | BinaryIO, *, name: str, max_pixels: int = MAX_PIXELS
) -> Image.Image:
  """Decodes an image fully, as RGB, upright.

  RGB and 8-bit grey equal `Image.open(file).convert('RGB')`. The rest:

  | in the file | becomes |
  |---|---|
  | EXIF or TIFF orientation | applied; width and height change places for 5 to 8 |
  | 1 bit | 0 or 255 |
  | 16-bit grey | `round(value / 257)`: the full range, never clipped or stretched |
  | 16 bits in several channels | the high byte |
  | 32 bits, float, signed | refused: their range is unknown |
  | palette | its colours |
  | alpha, transparent colour | dropped, not blended: the colours as they are stored |
  | CMYK, YCCK | `(255 - ink) * (255 - black) / 255`, without a colour profile |
  | several pages or frames | the first |

  A file that ends too early is refused. One that was closed properly after too few rows
  (an end marker in the middle of a JPEG) is not told from a whole one by the codecs:
  its rest is grey or black.

  Args:
    file: binary and open, or a path; of one of `FORMATS`.
    name: what messages call it.
    max_pixels: most of width times height, checked before any pixel is decoded.

  Raises:
    UserError: not an image of these formats, truncated or damaged, of no pixels or of
      more than `max_pixels`, or of a kind refused above; the cause is the exception
      that says so.
  """
  with _readable(name), _open(file) as image:
    _check_size(image, max_pixels=max_pixels)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return _to_rgb(image)


def _open_file(path: str | os.PathLike | ImageFile) -> BinaryIO:
  with _readable(str(path)):
    is_path = isinstance(path, str | os.PathLike)
    return (pathlib.Path(path) if is_path else path).open('rb')


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
  try:
    yield
  except Exception as error:  # Pillow documents no limit to what hostile files raise.
    found = str(error) or type(error).__name__
    raise UserError(
      f'{name}: expected a readable image ({", ".join(FORMATS)}; 8 bits a channel, or '
      f'16); found: {found.rstrip(".")}. Replace the file, or remove its rows from the '
      'annotations.'
    ) from error


def _open(file: str | os.PathLike | BinaryIO) -> Image.Image:
  try:
    return Image.open(file, formats=FORMATS)
  except Image.DecompressionBombError as error:
    raise ValueError(f'{error} Instead {_TILING}') from error


def _check_size(image: Image.Image, *, max_pixels: int) -> None:
  width, height = image.size
  if not width * height:
    raise ValueError(f'{width} x {height} pixels')
  if width * height > max_pixels:
    raise ValueError(
      f'{width} x {height} pixels, more than max_pixels = {max_pixels:,}; {_TILING}'
    )


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode.startswith('I;16'):
    scaled = np.asarray(image).astype(np.uint32) * 255 + 32767
    image = Image.fromarray((scaled // 65535).astype(np.uint8))
  if image.mode in ('I', 'F'):
    raise ValueError(
      f'32 bits a channel or signed values (mode {image.mode}), whose range is '
      'unknown; stretch them to 8 bits and export as RGB'
    )
  if image.mode == 'P' and 'transparency' in image.info:
    image = image.convert('RGBA')
  return image.convert('RGB')


def resize_for_evaluation(image: Image.Image, *, side: int) -> np.ndarray:
  """Resizes the whole image, without a crop, to u8[side, side, 3]; bicubic."""
  return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def normalize(images: jax.Array) -> jax.Array:
  """Normalises u8[B, H, W, 3] to f32[B, H, W, 3]: `(x / 255 - mean) / std`."""
  mean, std = (
    jnp.asarray(values, jnp.float32)[None, None, None, :]
    for values in (CLIP_MEAN, CLIP_STD)
  )
  return (images.astype(jnp.float32) / 255 - mean) / std
