"""Forms of the augmentation: the same pixels by the means that a device is good at."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax

from harma_jax.augment import color, crop, geometry


class Forms(NamedTuple):
  """How an image is augmented; the pixels are the same in all forms, bit for bit.

  Attributes:
    product: of the crop's weights and pixels.
    histogram: of a plane.
    look_up: of a plane's values in a table.
    corners: what finds the pixels around a source.
    one_by_one: images one after the other, each by the operation that it drew, instead
      of all images by all operations, of which all but one change nothing.
  """

  product: crop.Product
  histogram: Callable[[jax.Array], jax.Array]
  look_up: Callable[[jax.Array, jax.Array], jax.Array]
  corners: geometry.Corners
  one_by_one: bool


# Many threads with a memory that is quick at any address, as a GPU has them.
ALL_AT_ONCE = Forms(
  product=crop.in_float,
  histogram=color.histogram,
  look_up=color.look_up,
  corners=geometry.gathered,
  one_by_one=False,
)
# Few threads: what is not drawn is not computed.
ONE_BY_ONE = ALL_AT_ONCE._replace(one_by_one=True)
# Products and selects, but slow at an address for every pixel, as a TPU is.
BY_PRODUCTS = Forms(
  product=crop.in_halves,
  histogram=functools.partial(color.histogram, rows=224),
  look_up=color.look_up_by_product,
  corners=geometry.sheared,
  one_by_one=True,
)


def forms_of(platform: str) -> Forms:
  """The forms for devices of this platform, a jax device's `platform`."""
  return {'cpu': ONE_BY_ONE, 'tpu': BY_PRODUCTS}.get(platform, ALL_AT_ONCE)
