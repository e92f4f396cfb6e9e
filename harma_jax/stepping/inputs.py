"""From the indices of a batch to what the towers see, on the device."""

import functools
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from harma_jax.augment.batch import augment_batch, keys_of
from harma_jax.augment.forms import forms_of
from harma_jax.devices.mesh import batch_sharding, replicated, take_rows
from harma_jax.stepping.microbatch import at_once

PIXELS = ('images', 'sizes')
KEPT = ('image_ids', 'rows', 'own')


def make_inputs(
  *, mesh: Mesh, over_rows: Callable = at_once, **augmentation
) -> Callable[[dict, dict], dict]:
  """Builds the pure function `inputs(resident, batch) -> batch of the step`.

  `resident` holds `tokens` i32[n_captions, L], cut to the batch's length, and either
  `images` u8[n, H, W, 3] and `sizes` i32[n, 2] of all training images, cut over the
  devices by `place_rows`, or nothing more where the batch brings its own (see
  `train_batches`). An image is augmented by (seed, epoch, item), all of the batch: the
  same on any number of devices, and one compiled program for all seeds. Where an image
  comes once for several captions (`own`), its row is the item.

  Args:
    mesh: of all devices.
    over_rows: `(augment, rows) -> augment(rows)`, how look-up and augmentation, which
      take several f32 copies, go over a batch; see `make_in_parts`.
    **augmentation: keywords of `augment_batch`.
  """

  spec, everywhere = batch_sharding(mesh).spec, replicated(mesh).spec
  forms = forms_of(mesh.devices.flat[0].platform)

  # Every device its own images, also where it takes one after the other.
  @functools.partial(
    jax.shard_map,
    mesh=mesh,
    in_specs=(spec, spec, spec, everywhere, everywhere),
    out_specs=spec,
    check_vma=False,
  )
  def augment(images, sizes, items, seed, epoch):
    with jax.named_scope('augment'):
      keys = keys_of(seed, epoch, items)
      return augment_batch(images, sizes, keys, forms=forms, **augmentation)

  def inputs(resident, batch):
    drawn_by = batch['seed'][0], batch['epoch'][0]

    def augmented(rows):
      source = rows
      if 'images' in resident:
        with jax.named_scope('look_up'):
          source = {
            name: take_rows(resident[name], rows['places'], mesh=mesh)
            for name in PIXELS
          }
      return augment(source['images'], source['sizes'], rows['items'], *drawn_by)

    rows = {'items': batch['items']}
    if 'images' in resident:
      rows['places'] = batch['items' if 'own' in batch else 'image_ids']
    else:
      rows |= {name: batch[name] for name in PIXELS}
    images = over_rows(augmented, rows)
    kept = {name: batch[name] for name in KEPT if name in batch}
    return kept | {'images': images, 'tokens': resident['tokens'][batch['rows']]}

  return inputs
