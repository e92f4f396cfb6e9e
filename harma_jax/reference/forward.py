"""Hidden states, features and losses, computed again."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from harma_jax.model.clip import Clip

# Names of a file and what belongs there.
Quantities = Iterator[tuple[str, np.ndarray]]


def outputs(
  model: Clip, params: dict, inputs: tuple, *, objectives: Mapping[str, Callable]
) -> Quantities:
  """Of `inputs`: every block's output, both features, and the losses of these.

  Args:
    model: of the file.
    params: all parameters.
    inputs: images f32[B, side, side, 3], tokens i32[B, L], image ids i32[B].
    objectives: see `objectives_of`.
  """
  images, tokens, ids = inputs
  for tower, states in zip(
    ('image', 'text'), jax.jit(model.hidden_states)(params, images, tokens), strict=True
  ):
    for layer, state in enumerate(states):
      yield f'hidden/{tower}_block_{layer}', state
  image_features = jax.jit(model.encode_image)(params, images)
  text_features = jax.jit(model.encode_text)(params, tokens)
  yield 'outputs/image_features', image_features
  yield 'outputs/text_features', text_features
  for name, objective in objectives.items():
    value = objective(image_features, text_features, ids, params['temperature'])
    yield f'outputs/{name}', value


def losses(
  name: str,
  given: Sequence[jax.Array],
  *,
  objectives: Mapping[str, Callable],
  temperature: float,
) -> Quantities:
  """The losses of features and ids that are given, with their gradients.

  Args:
    name: of the set, as the file has it.
    given: in the order of `GIVEN`.
    objectives: see `objectives_of`.
    temperature: divides the similarities.
  """
  for objective, loss in objectives.items():
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(*given, temperature)
    yield f'losses/{name}/{objective}', value
    yield f'losses/{name}/{objective}/grad_image', gradients[0]
    yield f'losses/{name}/{objective}/grad_text', gradients[1]
