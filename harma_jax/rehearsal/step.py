"""The sharded step of a stage for devices that are not there: compiled, never run."""

import dataclasses
import math
import time

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from harma_jax.building.abstract import TrainSizes, abstract_inputs
from harma_jax.building.model import build_model
from harma_jax.building.recipe import Recipe, build_recipe
from harma_jax.devices.compilation import Memory, memory_of
from harma_jax.devices.mesh import replicated, tree_shardings
from harma_jax.devices.targets import Target
from harma_jax.rehearsal.refusal import Refusal, read_refusal
from harma_jax.stepping.step import TrainState, compile_step

# Where the compiler puts arrays does not depend on the instructions it then chooses.
COMPILE_FAST = {
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
}
# XLA's Triton emitter cannot tile every product; cuBLAS takes what it leaves.
NO_TRITON = {'xla_gpu_enable_triton_gemm': False}
TRITON_FAILED = "Couldn't find output tile sizes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
  """What a compiler made of the step.

  Attributes:
    memory: of a device; None where it refused.
    refusal: why; None where it did not.
    text: of the program; '' where there is none.
    held: bytes of a device by kind, of what the step is given: `weights`, `optimizer`,
      `images`.
    lowering_seconds: tracing included.
    compile_seconds: what the compiler took.
  """

  memory: Memory | None
  refusal: Refusal | None
  text: str
  held: dict[str, int]
  lowering_seconds: float
  compile_seconds: float


def recipe_for(config: ConfigDict, *, devices: list, target: Target) -> Recipe:
  """The recipe of a checked config on these devices, of any kind."""
  model = build_model(config)
  if config.model.attention == 'cudnn' and target.platform == 'cuda':
    model = dataclasses.replace(model, kernel='cudnn')
  return build_recipe(config, model, devices=devices, target=target)


def compile_for(
  recipe: Recipe, *, sizes: TrainSizes, length: int, platform: str
) -> Compiled:
  """Compiles the step of a recipe for captions of `length` tokens.

  Args:
    recipe: whose mesh is of the devices that are compiled for.
    sizes: of the training split.
    length: of the captions of a batch.
    platform: for which the step is lowered, even where the devices are CPUs.
  """
  inputs = abstract_inputs(
    recipe.config, recipe.model, mesh=recipe.mesh, sizes=sizes, length=length
  )
  start = time.monotonic()
  state, traced = trace_step(recipe, inputs, n_captions=sizes.captions)
  lowered = traced.lower(lowering_platforms=(platform,))
  of_cpu = recipe.mesh.devices.flat[0].platform == 'cpu'
  lowering_seconds = time.monotonic() - start
  if of_cpu:
    lowered = traced.lower()
  start = time.monotonic()
  compiled, refusal = _compile(lowered, of_cpu=of_cpu)
  return Compiled(
    memory=memory_of(compiled) if compiled else None,
    refusal=refusal,
    text=compiled.as_text() if compiled else '',
    held=_held(state, inputs, mesh=recipe.mesh),
    lowering_seconds=lowering_seconds,
    compile_seconds=time.monotonic() - start,
  )


def trace_step(
  recipe: Recipe, inputs: tuple[dict, dict], *, n_captions: int
) -> tuple[TrainState, jax.stages.Traced]:
  """The abstract state of a run and its sharded step, traced.

  Args:
    recipe: of the run; with `pace.dispatch` above 1 the program is of so many steps.
    inputs: of `abstract_inputs`.
    n_captions: of the training split.
  """
  trainer, size = recipe.trainer(total_steps=1), recipe.pace.dispatch
  state = trainer.shapes_of(n_captions=n_captions)
  step = compile_step(
    trainer.step, state, mesh=recipe.mesh, inputs=trainer.inputs, several=size > 1
  )
  if size == 1:
    return state, step.trace(state, *inputs)
  resident, sent = inputs
  count = jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated(recipe.mesh))
  stacked = jax.tree.map(lambda rows: _stacked(rows, size=size), sent)
  return state, step.trace(state, resident, stacked, count)


def bytes_of_device(tree, *, mesh: Mesh) -> int:
  """What a device holds of a tree of arrays or shapes laid out by `tree_shardings`."""
  shardings = tree_shardings(tree, mesh=mesh)
  parts = jax.tree.map(_bytes_of_part, tree, shardings)
  return sum(jax.tree.leaves(parts))


def _stacked(rows: jax.ShapeDtypeStruct, *, size: int) -> jax.ShapeDtypeStruct:
  sharding = NamedSharding(rows.sharding.mesh, PartitionSpec(None, *rows.sharding.spec))
  return jax.ShapeDtypeStruct((size, *rows.shape), rows.dtype, sharding=sharding)


def _compile(
  lowered: jax.stages.Lowered, *, of_cpu: bool
) -> tuple[jax.stages.Compiled | None, Refusal | None]:
  try:
    return lowered.compile(compiler_options=COMPILE_FAST if of_cpu else None), None
  except jax.errors.JaxRuntimeError as error:
    if TRITON_FAILED in str(error):
      return lowered.compile(compiler_options=NO_TRITON), None
    refusal = read_refusal(str(error))
    if refusal is None:
      raise
    return None, refusal


def _held(
  state: TrainState, inputs: tuple[dict, dict], *, mesh: Mesh
) -> dict[str, int]:
  resident, sent = inputs
  images = (resident | sent).get('images')
  return {
    'weights': bytes_of_device((state.trainable, state.frozen), mesh=mesh),
    'optimizer': bytes_of_device(state.optimizer_state, mesh=mesh),
    'images': _bytes_of_part(images, images.sharding),
  }


def _bytes_of_part(leaf, sharding: NamedSharding) -> int:
  return math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
