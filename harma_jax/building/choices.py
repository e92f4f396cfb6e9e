"""What a config leaves open of how a step is computed, decided for the devices.

Nothing here changes what is computed beyond rounding.
"""

import dataclasses
import os

import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.devices.targets import Target
from harma_jax.model.clip import Clip
from harma_jax.model.transformer import TILE

# Layers, up to which towers are unrolled, by platform (docs/throughput.md): with 12, a
# CPU's compiler keeps twice the memory, a GPU's takes thrice and, with 6, a TPU's more
# than thrice as long.
UNROLLED_DEPTH = {'cpu': 6}  # elsewhere none
HALF = (jnp.bfloat16, jnp.float16)

# The policies of `REMAT` from the fastest on, which docs/throughput.md shows.
FASTEST = {
  'tpu': ('outputs', 'block'),
  'cuda': ('products', 'outputs', 'block'),
  'cpu': ('products', 'outputs', 'block'),
}
# Arrays as wide as the tower that a block keeps for the backward pass; compiled
# programs keep so much (the table in docs/throughput.md).
KEPT = {'none': 45, 'products': 11, 'outputs': 3.5, 'block': 1.2}
# Such arrays of one block that are in memory while it is computed.
PASSING = 40
# Of the memory, what the backward pass may keep: images, weights and the rest need
# theirs, and a host has other programs.
SHARE = {'tpu': 0.5, 'cuda': 0.5, 'cpu': 0.25}


def fit_to_devices(
  config: ConfigDict, model: Clip, *, mesh: Mesh, target: Target
) -> Clip:
  """`model` with what its config leaves to be decided, for training on these devices.

  Args:
    config: of a run; `model.layers`, `remat` and `attention` may be `auto`.
    model: of its `build_model`.
    mesh: of the devices.
    target: their kind. Where CPUs stand in for others, the program is for CPUs.
  """
  platform = mesh.devices.flat[0].platform
  remat, layers, kernel = model.remat, model.layers, model.kernel
  if config.model.remat == 'auto':
    batch = config.train.batch_size
    rows = min(config.train.microbatch or batch, batch)
    remat = choose_remat(
      model,
      images=max(rows // mesh.size, 1),
      captions=max(rows // mesh.size, 1) * config.data.captions_per_image,
      length=config.data.context_length or model.size.context_length,
      target=target,
    )
  if config.model.layers == 'auto':
    layers = choose_layers(model, platform=platform)
  if config.model.attention in ('auto', 'pallas') and platform == 'tpu':
    kernel = 'pallas' if model.dtype in HALF else 'xla'
  elif config.model.attention == 'auto' and platform == 'cpu':
    kernel = 'plain'
  return dataclasses.replace(
    model,
    layers=layers,
    remat=remat,
    kernel=kernel,
    mesh=mesh if kernel == 'pallas' else None,
  )


def choose_layers(model: Clip, *, platform: str) -> str:
  """Shallow towers are unrolled on a CPU, where they are 1.1 to 1.3 times as fast."""
  depth = max(model.size.image.layers, model.size.text.layers)
  return 'unroll' if depth <= UNROLLED_DEPTH.get(platform, 0) else 'scan'


def choose_remat(
  model: Clip, *, images: int, captions: int, length: int, target: Target
) -> str:
  """The fastest policy of the platform whose memory is there, else the smallest one.

  Args:
    model: whose towers keep arrays of its dtype.
    images: that a device encodes at a time.
    captions: likewise.
    length: of a caption, tokens.
    target: its kind and memory; unknown memory is enough for any, and a platform of no
      list is taken for a GPU's.
  """
  platform = target.platform if target.platform in FASTEST else 'cuda'
  *faster, smallest = FASTEST[platform]
  memory = target.memory
  if memory is None and platform == 'cpu':
    memory = _host_memory()
  for policy in faster:
    kept = kept_bytes(
      model, policy=policy, images=images, captions=captions, length=length
    )
    if memory is None or kept <= SHARE[platform] * memory:
      return policy
  return smallest


def kept_bytes(
  model: Clip, *, policy: str, images: int, captions: int, length: int
) -> int:
  """About what the towers hold for the backward pass of one step, in bytes."""
  size = model.size
  rows = (
    (size.image, images * _whole_tiles(size.image_positions)),
    (size.text, captions * _whole_tiles(length)),
  )
  arrays = sum(
    count * tower.width * (tower.layers * KEPT[policy] + PASSING)
    for tower, count in rows
  )
  return int(arrays * jnp.dtype(model.dtype).itemsize)


def _whole_tiles(length: int) -> int:
  return -(-length // TILE) * TILE


def _host_memory() -> int | None:
  names = 'SC_PAGE_SIZE', 'SC_PHYS_PAGES'
  if not set(names) <= set(getattr(os, 'sysconf_names', ())):
    return None
  page, count = map(os.sysconf, names)
  return page * count
