"""Pillow's resize on the devices, with the same bits.

Pillow resizes pixels of 8 bits by integers: weights over 2^22, first along rows, then
along columns, each rounded to 8 bits. `data.images.resize_for_evaluation` is Pillow's
own, and the reference.
"""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from harma_jax.data.images import RESAMPLING

LARGEST = 2.5  # times the side of the result: 11 weights a pixel
_BITS = 22
_DIGIT_BITS, _DIGITS = 8, 3


def is_for_devices(length: int, *, side: int, platform: str) -> bool:
  """Whether devices resize square tiles of `length` to `side`, or the host does.

  On a CPU both are the same cores, and Pillow takes no longer. Larger tiles take more
  products, and more time to bring to a device, while Pillow needs less for a pixel.

  Args:
    length: pixels of a side of the tile; 0 for whole images of any size.
    side: of the result.
    platform: of the devices, a jax device's `platform`.
  """
  return platform != 'cpu' and 0 < length <= LARGEST * side


def resize(
  images: jax.Array, *, side: int, interpolation: str = 'bicubic'
) -> jax.Array:
  """The pixels of Pillow's `resize((side, side), ...)`, bit for bit.

  Args:
    images: u8[n, H, W, 3] with H <= W: taller ones Pillow 13 resizes along columns
      first.
    side: pixels of the result.
    interpolation: one of `INTERPOLATIONS`.

  Returns:
    u8[n, side, side, 3].
  """
  _, height, width, _ = images.shape
  how = {'side': side, 'interpolation': interpolation}
  images = _resample('nhwc,ow->nhoc', images, weights(width, **how))
  return _resample('nhoc,ph->npoc', images, weights(height, **how))


def weights(length: int, *, side: int, interpolation: str = 'bicubic') -> np.ndarray:
  """i32[side, length]: what each of `length` pixels adds to each of `side`, over 2^22.

  Pillow tells them: its resize of 32-bit integers rounds to them a line that is 2^22 at
  one pixel and 0 elsewhere.
  """
  lines = Image.fromarray(np.eye(length, dtype=np.int32) << _BITS)
  return np.asarray(lines.resize((side, length), RESAMPLING[interpolation])).T


def _resample(axes: str, images: jax.Array, weights: np.ndarray) -> jax.Array:
  """The einsum of pixels and weights, rounded to u8.

  One of bf16 for each digit of the weights, the fastest that devices have: pixels and
  digits have 8 bits, and a sum of their products less than the 24 of f32, so that it is
  exact in any order.
  """
  images = images.astype(jnp.bfloat16)
  total = jnp.int32(1 << (_BITS - 1))
  for place, digit in enumerate(_digits(weights)):
    digit = jnp.asarray(digit, jnp.bfloat16)
    part = jnp.einsum(axes, images, digit, preferred_element_type=jnp.float32)
    total += part.astype(jnp.int32) << (_DIGIT_BITS * place)
  return jnp.clip(total >> _BITS, 0, 255).astype(jnp.uint8)


def _digits(numbers: np.ndarray) -> list[np.ndarray]:
  """Of base 256, from -128 to 127, the least first; `_DIGITS` hold a weight."""
  digits, half = [], 1 << (_DIGIT_BITS - 1)
  for _ in range(_DIGITS):
    digits.append((numbers + half) % (2 * half) - half)
    numbers = (numbers - digits[-1]) >> _DIGIT_BITS
  return digits
