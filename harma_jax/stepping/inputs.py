"""From the indices of a batch to what the towers see, on the device."""

import functools
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from harma_jax.augment.batch import augment_batch, keys_of
from harma_jax.augment.forms import forms_of
from harma_jax.devices.mesh import batch_sharding, replicated, take_rows

PIXELS = ('images', 'sizes')
KEPT = ('image_ids', 'rows', 'own')


def make_inputs(*, mesh: Mesh, **augmentation) -> Callable[[dict, dict], dict]:
  """Builds the pure function `inputs(resident, batch) -> batch of the step`.

  `resident` holds `tokens` i32[n_captions, L], cut to the batch's length, and either
  `images` u8[n, H, W, 3] and `sizes` i32[n, 2] of all training images, cut over the
  devices by `place_rows`, or nothing more where the batch brings its own (see
  `train_batches`). An image is augmented by (seed, epoch, item), all of the batch: the
  same on any number of devices, and one compiled program for all seeds. Where an image
  comes once for several captions (`own`), its row is the item.

  Args:
    mesh: of all devices.
    **augmentation: keywords of `augment_batch`.
  """

  rows, everywhere = batch_sharding(mesh).spec, replicated(mesh).spec
  forms = forms_of(mesh.devices.flat[0].platform)

  # Every device its own images, also where it takes one after the other.
  @functools.partial(
    jax.shard_map,
    mesh=mesh,
    in_specs=(rows, rows, rows, everywhere, everywhere),
    out_specs=rows,
    check_vma=False,
  )
  def augment(images, sizes, items, seed, epoch):
    keys = keys_of(seed, epoch, items)
    return augment_batch(images, sizes, keys, forms=forms, **augmentation)

  def inputs(resident, batch):
    source = batch
    if 'images' in resident:
      rows = batch['items' if 'own' in batch else 'image_ids']
      source = {name: take_rows(resident[name], rows, mesh=mesh) for name in PIXELS}
    drawn_by = batch['items'], batch['seed'][0], batch['epoch'][0]
    images = augment(source['images'], source['sizes'], *drawn_by)
    kept = {name: batch[name] for name in KEPT if name in batch}
    return kept | {'images': images, 'tokens': resident['tokens'][batch['rows']]}

  return inputs
