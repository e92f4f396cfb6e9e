"""A stage of a run in words: its devices, and what they hold whatever the captions."""

import math

from jax.sharding import Mesh

from harma_jax.building.abstract import TrainSizes
from harma_jax.devices.mesh import layout_of
from harma_jax.devices.targets import SHARE_VARIABLES, Target, Topology, jax_share
from harma_jax.rehearsal.stage import Stage
from harma_jax.rehearsal.step import bytes_of_device
from harma_jax.rehearsal.words import gibibytes
from harma_jax.stepping.optim import count


def stage_in_words(stage: Stage) -> dict[str, str]:
  """The lines of a table that all lengths of captions have in common."""
  recipe, topology = stage.recipe, stage.topology
  mesh, size = recipe.mesh, recipe.pace.batch_size
  state = recipe.trainer(total_steps=1).shapes_of(n_captions=stage.sizes.captions)
  weights, moments = (
    gibibytes(bytes_of_device(tree, mesh=mesh))
    for tree in ((state.trainable, state.frozen), state.optimizer_state)
  )
  facts = {
    'devices': f'{mesh.size} {topology.target.kind}, {layout_of(mesh)}',
    'a device': device_in_words(topology.target),
    'compiler': stage.compiler or no_compiler(topology),
    'parameters': (
      f'{count(state.trainable):,} trainable, {count(state.frozen):,} frozen; '
      f'{weights} a device, and {moments} of optimizer state'
    ),
    'batch': f'{size:,}, {size // mesh.size:,} a device',
    'data': data_in_words(stage.sizes, mesh=mesh),
  }
  return {name: words for name, words in facts.items() if words}


def device_in_words(target: Target) -> str | None:
  """What the table of kinds has of a device; None for a platform alone."""
  if target.peak is None:
    return None
  share = ''
  if target.platform == 'cuda':
    share = f', the {jax_share():.0%} that jax takes ({SHARE_VARIABLES[0]} changes it)'
  return (
    f'{target.peak / 1e12:,.0f} TFLOP/s in bfloat16, '
    f'{target.bandwidth / 1e9:,.0f} GB/s, '
    f'{gibibytes(target.memory)} for programs{share}'
  )


def no_compiler(topology: Topology) -> str:
  """Why the program is one for CPUs, and how to get the right one."""
  cpus = f'the program is the one for {topology.count} CPU devices'
  platform = topology.target.platform
  if topology.wants is None:
    return cpus
  package = 'libtpu' if platform == 'tpu' else "jax's CUDA plugin"
  return (
    f"{package} is not installed (pip install 'harma_jax[{platform}]'): {cpus}, whose "
    'memory and collectives may differ'
  )


def data_in_words(sizes: TrainSizes, *, mesh: Mesh) -> str:
  """How many, and where the images are."""
  where = 'none read; reckoned with those of one batch'
  if sizes.known:
    where = f'{sizes.images:,} images, {sizes.captions:,} captions'
  if not sizes.on_device:
    return f'{where}; images sent with each batch'
  images = math.ceil(sizes.images / mesh.size)
  kept = gibibytes(images * math.prod((*sizes.canvas, 3)))
  return f'{where}; each device holds its part of all images ({kept})'
