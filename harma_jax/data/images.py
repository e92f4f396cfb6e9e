"""Image files to pixels: reading, the evaluation resize, the normalisation."""

import os
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from harma_jax.model.preprocessing import CLIP_MEAN, CLIP_STD, INTERPOLATIONS
from harma_jax.raster.how import DEFAULT, How
from harma_jax.raster.limits import MAX_PIXELS, check_size, readable
from harma_jax.raster.scene import ImageFile, Scene, open_scene

if TYPE_CHECKING:  # else by `normalize` alone: most who read images need no devices
  import jax

RESAMPLING = {name: Image.Resampling[name.upper()] for name in INTERPOLATIONS}


class Header(NamedTuple):
  """What is known of an image before it is decoded.

  Attributes:
    size: width and height, upright.
    bits: of a value; what has more than 8 is stretched.
  """

  size: tuple[int, int]
  bits: int


def read_image(
  path: str | os.PathLike | ImageFile,
  *,
  max_pixels: int = MAX_PIXELS,
  how: How = DEFAULT,
) -> Image.Image:
  """Reads an image file and decodes it fully, as RGB: `decode_image` of a path.

  Raises:
    UserError: as `decode_image`, or no such file.
  """
  name = str(path)
  with readable(name), open_scene(path, name=name, how=how, max_pixels=max_pixels) as s:
    return _whole(s, max_pixels=max_pixels)


def read_header(
  path: str | os.PathLike | ImageFile, *, max_pixels: int = MAX_PIXELS
) -> Header:
  """What an image file's header says.

  Raises:
    UserError: no such file, not an image of these formats, or of too many pixels.
  """
  name = str(path)
  with readable(name), open_scene(path, name=name, max_pixels=max_pixels) as scene:
    check_size(*scene.size, max_pixels=max_pixels)
    return Header(scene.size, scene.bits)


def read_size(
  path: str | os.PathLike | ImageFile, *, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
  """Width and height, upright: `read_header` alone."""
  return read_header(path, max_pixels=max_pixels).size


def decode_image(
  file: BinaryIO, *, name: str, max_pixels: int = MAX_PIXELS, how: How = DEFAULT
) -> Image.Image:
  """Decodes an image fully, as RGB, upright.

  RGB and 8-bit grey equal `Image.open(file).convert('RGB')`. The rest:

  | in the file | becomes |
  |---|---|
  | EXIF or TIFF orientation | applied, which may turn it; not beside a georeference |
  | 1, 2, 4 bits | their full range to 0 ... 255 |
  | other than 8 bits | stretched, by `how`; without rasterio refused but 16-bit grey |
  | several bands | red, green, blue by `how`, by what the file says, or the first |
  | palette | its colours |
  | alpha, transparent colour | dropped, not blended: the colours as they are stored |
  | CMYK, YCCK | `(255 - ink) * (255 - black) / 255`, without a colour profile |
  | several pages or frames | the first |

  A file that ends too early is refused. One that was closed properly after too few rows
  (an end marker in the middle of a JPEG) is not told from a whole one by the codecs:
  its rest is grey or black.

  Args:
    file: binary and open; of one of `FORMATS`.
    name: what messages call it.
    max_pixels: most of width times height, checked before any pixel is decoded.
    how: what the user says of bands and values.

  Raises:
    UserError: not an image of these formats, truncated or damaged, of no pixels or of
      more than `max_pixels`, or of a kind refused above; the cause is the exception
      that says so.
  """
  with readable(name), open_scene(file, name=name, how=how, max_pixels=max_pixels) as s:
    return _whole(s, max_pixels=max_pixels)


def _whole(scene: Scene, *, max_pixels: int) -> Image.Image:
  check_size(*scene.size, max_pixels=max_pixels)
  return scene.read((0, 0, *scene.size)).image()


def resize_for_evaluation(
  image: Image.Image, *, side: int, interpolation: str = 'bicubic'
) -> np.ndarray:
  """Resizes the whole image, without a crop, to u8[side, side, 3]."""
  return np.asarray(image.resize((side, side), RESAMPLING[interpolation]))


def normalize(
  images: 'jax.Array',
  *,
  mean: tuple[float, ...] = CLIP_MEAN,
  std: tuple[float, ...] = CLIP_STD,
) -> 'jax.Array':
  """Normalises u8[B, H, W, 3] to f32[B, H, W, 3]: `(x / 255 - mean) / std`."""
  import jax.numpy as jnp

  mean, std = (
    jnp.asarray(values, jnp.float32)[None, None, None, :] for values in (mean, std)
  )
  return (images.astype(jnp.float32) / 255 - mean) / std
