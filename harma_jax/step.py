"""The train step: the only place where model, objective and optimizer meet."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from harma_jax.data.images import normalize
from harma_jax.mesh import batch_sharding, replicated, tree_shardings
from harma_jax.model.clip import Clip
from harma_jax.objective.alignment import Objective
from harma_jax.optim import bound_temperature, merge_params


@flax.struct.dataclass
class TrainState:
  """Everything that a step reads and writes.

  Attributes:
    step: i32[], steps taken.
    trainable: the subtree that gradients are taken of.
    frozen: the rest of the parameters; no gradient, no optimizer state.
    optimizer_state: of the trainable subtree.
  """

  step: jax.Array
  trainable: dict
  frozen: dict
  optimizer_state: optax.OptState

  @property
  def params(self) -> dict:
    """The whole parameter tree."""
    return merge_params(self.trainable, self.frozen)


def init_state(
  trainable: dict, frozen: dict, *, optimizer: optax.GradientTransformation
) -> TrainState:
  """The state before the first step."""
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    trainable=trainable,
    frozen=frozen,
    optimizer_state=optimizer.init(trainable),
  )


def make_train_step(
  model: Clip,
  objective: Objective,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
  """Builds the pure step `(state, batch) -> (state, metrics)`.

  The batch is global: `images` u8[B, side, side, 3], `tokens` i32[B, L], `image_ids`
  i32[B]. The metrics, f32[]: `loss`, its terms, `gradient_norm` of the trainable
  leaves, and the `temperature` and `learning_rate` that the step used.
  """

  def loss_fn(trainable, frozen, batch):
    params = merge_params(trainable, frozen)
    return objective(
      model.encode_image(params, normalize(batch['images'])),
      model.encode_text(params, batch['tokens']),
      batch['image_ids'],
      temperature=params['temperature'],
    )

  def step(state, batch):
    (loss, terms), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
      state.trainable, state.frozen, batch
    )
    updates, optimizer_state = optimizer.update(
      gradients, state.optimizer_state, state.trainable
    )
    metrics = {
      'loss': loss,
      **terms,
      'gradient_norm': optax.tree.norm(gradients),
      'temperature': state.params['temperature'],
      'learning_rate': jnp.asarray(schedule(state.step), jnp.float32),
    }
    state = state.replace(
      step=state.step + 1,
      trainable=bound_temperature(optax.apply_updates(state.trainable, updates)),
      optimizer_state=optimizer_state,
    )
    return state, metrics

  return step


def compile_step(step: Callable, state: TrainState, *, mesh: Mesh) -> Callable:
  """`step` jitted over `mesh`: batch rows sharded, parameters by shape, state donated.

  The state must have been placed by `place_state`.
  """
  shardings = tree_shardings(state, mesh=mesh)
  return jax.jit(
    step,
    in_shardings=(shardings, batch_sharding(mesh)),
    out_shardings=(shardings, replicated(mesh)),
    donate_argnums=0,
  )


def place_state(state: TrainState, *, mesh: Mesh) -> TrainState:
  """The state laid out over `mesh`, in buffers of its own (a step donates them)."""
  return jax.jit(
    lambda tree: jax.tree.map(jnp.copy, tree),
    out_shardings=tree_shardings(state, mesh=mesh),
  )(state)
