"""Image files to pixels: reading, the evaluation resize, CLIP's normalisation."""

import os

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from harma_jax.errors import UserError

# OpenAI's constants, used by all CLIP weights here; red, green, blue in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# What Pillow and its codecs raise for files that are missing, foreign or damaged.
_READ_ERRORS = (
  OSError,
  SyntaxError,
  ValueError,
  EOFError,
  Image.DecompressionBombError,
)


def read_image(path: str | os.PathLike) -> Image.Image:
  """Reads an image file (JPEG, PNG, TIFF) and decodes it fully, as RGB.

  Equals `Image.open(path).convert('RGB')`, except that 16-bit grey is scaled to 8 bits
  and not clipped. Alpha is dropped and an EXIF orientation is not applied, as in the
  original.

  Raises:
    UserError: no such file, not an image, truncated, or more than 16 bits a channel.
  """
  try:
    with Image.open(path) as image:
      image.load()
      return _to_rgb(image)
  except _READ_ERRORS as error:
    raise UserError(
      f'{path}: expected a readable image (JPEG, PNG or TIFF, 8 or 16 bits a channel); '
      f'found: {error}. Replace the file, or remove its rows from the annotations.'
    ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode.startswith('I;16'):
    scaled = np.asarray(image).astype(np.uint32) * 255 + 32767
    image = Image.fromarray((scaled // 65535).astype(np.uint8))
  if image.mode in ('I', 'F'):
    raise ValueError(f'32 bits a channel (mode {image.mode}), whose range is unknown')
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
