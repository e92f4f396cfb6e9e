"""Forms of the augmentation: the same pixels by the means that a device is good at."""

from collections.abc import Callable
from typing import NamedTuple

from harma_jax.augment import crop, rand_augment


class Forms(NamedTuple):
  """How a batch is augmented; the pixels are the same in all forms, bit for bit.

  Attributes:
    product: of the crop's weights and pixels.
    operate: RandAugment's drawn operations.
  """

  product: crop.Product
  operate: Callable


# Many threads with a memory that is quick at any address, as a GPU has them.
ALL_AT_ONCE = Forms(crop.in_float, rand_augment.all_at_once)
# Few threads: what is not drawn is not computed.
ONE_BY_ONE = Forms(crop.in_float, rand_augment.one_by_one)
# A TPU: products of bf16, and a kernel, for an address a pixel would be slow.
BY_KERNEL = Forms(crop.in_halves, rand_augment.by_kernel)


def forms_of(platform: str) -> Forms:
  """The forms for devices of this platform, a jax device's `platform`."""
  return {'cpu': ONE_BY_ONE, 'tpu': BY_KERNEL}.get(platform, ALL_AT_ONCE)
