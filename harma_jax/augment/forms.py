"""Forms of the augmentation: the same pixels by the means that a device is good at."""

from collections.abc import Callable
from typing import NamedTuple

from harma_jax.augment import crop, rand_augment


class Forms(NamedTuple):
  """How a batch is augmented; the pixels are the same in all forms, bit for bit.

  Attributes:
    product: of the crop's weights and pixels.
    operate: RandAugment's drawn operations.
    group: images that are augmented together, which bounds the memory.
  """

  product: crop.Product
  operate: Callable
  group: int


# Many threads with a memory that is quick at any address, as a GPU has them; of an
# image of 224 pixels it holds 3 MB.
ALL_AT_ONCE = Forms(crop.in_float, rand_augment.all_at_once, group=512)
# Few threads: an image stays in the cache, and what is not drawn is not computed.
ONE_BY_ONE = Forms(crop.in_float, rand_augment.one_by_one, group=1)
# A TPU: products of bf16, and a kernel, for an address a pixel would be slow; more
# images leave the fast memory between two operations.
BY_KERNEL = Forms(crop.in_halves, rand_augment.by_kernel, group=128)


def forms_of(platform: str) -> Forms:
  """The forms for devices of this platform, a jax device's `platform`."""
  return {'cpu': ONE_BY_ONE, 'tpu': BY_KERNEL}.get(platform, ALL_AT_ONCE)
