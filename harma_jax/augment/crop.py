"""RandomResizedCrop: the box of torchvision, the antialiased resize of Pillow.

Weights are integers over 2^15, so that every sum of weight times pixel is exact in f32:
the result does not depend on the order in which a device adds.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

Product = Callable[[str, jax.Array, jax.Array], jax.Array]

_RATIO = (3 / 4, 4 / 3)
_TRIES = 10
_BITS = 15
_ONE = 2**_BITS


def draw_box(
  key: jax.Array, size: jax.Array, *, scale: tuple[float, float]
) -> tuple[jax.Array, jax.Array]:
  """Draws the box of torchvision's RandomResizedCrop.

  Area uniform in `scale`, ratio of width to height log-uniform in 3/4 to 4/3; where 10
  boxes do not fit, the largest centred one that has an allowed ratio.

  Args:
    key: a random key.
    size: i32[2], height and width of the image, at least 1.
    scale: the smallest and largest part of the image's area that a box keeps.

  Returns:
    i32[2] top and left, i32[2] height and width of the box.
  """
  area, ratio, *place = jax.random.uniform(key, (_TRIES, 4)).T
  area = (scale[0] + area * (scale[1] - scale[0])) * size.prod()
  low, high = map(math.log, _RATIO)
  ratio = jnp.exp(low + ratio * (high - low))
  boxes = jnp.round(jnp.sqrt(area[:, None] * jnp.stack([1 / ratio, ratio], axis=1)))
  boxes = boxes.astype(jnp.int32)
  fits = jnp.all((boxes > 0) & (boxes <= size[None]), axis=1)
  first = jnp.argmax(fits)
  box = jnp.where(fits.any(), boxes[first], _largest_box(size))
  start = jnp.floor(jnp.stack(place, axis=1)[first] * (size - box + 1))
  start = jnp.where(fits.any(), start.astype(jnp.int32), (size - box) // 2)
  return start, box


def _largest_box(size: jax.Array) -> jax.Array:
  low, high = _RATIO
  sides = jnp.round(size[::-1] * jnp.asarray([1 / low, high], jnp.float32))
  return jnp.clip(sides.astype(jnp.int32), 1, size)


def resample(
  planes: jax.Array,
  start: jax.Array,
  box: jax.Array,
  *,
  side: int,
  product: Product,
  interpolation: str = 'bicubic',
) -> jax.Array:
  """Cuts out a box and resizes it, as Pillow's `crop(...).resize(...)`.

  Args:
    planes: u8[C, H, W]; what lies outside of the box has no effect.
    start: i32[2], top and left of the box.
    box: i32[2], its height and width, 1 to 16383.
    side: pixels of the result.
    product: how weights and pixels are multiplied, `in_float` or `in_halves`.
    interpolation: `bicubic` or `bilinear`.

  Returns:
    u8[C, side, side].
  """
  _, height, width = planes.shape
  how = {'side': side, 'kernel': _KERNELS[interpolation]}
  rows = _weights(start[0], box[0], length=height, **how)
  columns = _weights(start[1], box[1], length=width, **how)
  planes = _to_pixels(product('chw,ow->cho', planes, columns))
  return _to_pixels(product('cho,ph->cpo', planes, rows))


def in_float(axes: str, planes: jax.Array, weights: jax.Array) -> jax.Array:
  """The einsum f32 of pixels u8 with integers i32 over 2^15, exact."""
  planes, weights = planes.astype(jnp.float32), weights.astype(jnp.float32) / _ONE
  return jnp.einsum(axes, planes, weights, precision=jax.lax.Precision.HIGHEST)


def in_halves(axes: str, planes: jax.Array, weights: jax.Array) -> jax.Array:
  """`in_float` as two products of bf16, of the 6 that a TPU makes of one of f32.

  A weight is a multiple of 256 and a rest of -128 to 127, either of at most 8 bits.
  """
  rest = (weights + 128) % 256 - 128
  parts = [part.astype(jnp.bfloat16) for part in (weights - rest, rest)]
  # Made once, and not anew in every tile of the product.
  parts = jax.lax.optimization_barrier(parts)
  planes = planes.astype(jnp.bfloat16)
  products = [
    jnp.einsum(axes, planes, part, preferred_element_type=jnp.float32) for part in parts
  ]
  return sum(products) / _ONE


def _to_pixels(values: jax.Array) -> jax.Array:
  return jnp.clip(jnp.floor(values + 0.5), 0, 255).astype(jnp.uint8)


def _weights(
  start: jax.Array, box: jax.Array, *, length: int, side: int, kernel: Callable
) -> jax.Array:
  """i32[side, length]: what each of `length` pixels adds to each of `side`, in _ONE."""
  pixels, results = jnp.arange(length) - start, jnp.arange(side)
  # Antialiasing: shrinking widens the kernel.
  unit = 2 * jnp.maximum(box, side)
  distance = jnp.abs((2 * pixels[None] + 1) * side - (2 * results[:, None] + 1) * box)
  distance = jnp.minimum(distance, 2 * unit)
  weights = kernel(_over(distance * _ONE + unit // 2, unit))
  weights = jnp.where(((pixels >= 0) & (pixels < box))[None], weights, 0)
  total = weights.sum(axis=1, keepdims=True)
  return _over(weights * _ONE + total // 2, total)


def _over(number: jax.Array, divisor: jax.Array) -> jax.Array:
  """`number // divisor`, which is above 0, with one division where `//` takes two."""
  quotient = jax.lax.div(number, jnp.broadcast_to(divisor, number.shape))
  return quotient - (number < quotient * divisor)


def _cubic(x: jax.Array) -> jax.Array:
  """The cubic convolution kernel (Keys 1981, a = -1/2) at a distance of 0 to 2.

  `1 - 5/2 x^2 + 3/2 x^3` up to 1, then `(y^3 - y^2) / 2` with y = 2 - x; all of them
  i32 in units of 1 / _ONE.
  """
  near = x < _ONE
  part = jnp.where(near, x, 2 * _ONE - x)
  square = (part * part + _ONE // 2) >> _BITS
  cube = (square * part + _ONE // 2) >> _BITS
  return jnp.where(near, _ONE - (5 * square - 3 * cube) // 2, (cube - square) // 2)


def _triangle(x: jax.Array) -> jax.Array:
  """`1 - x` at a distance of 0 to 1 and 0 beyond, i32 in units of 1 / _ONE."""
  return jnp.maximum(_ONE - x, 0)


_KERNELS = {'bicubic': _cubic, 'bilinear': _triangle}
