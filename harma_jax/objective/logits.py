"""What turns similarities into logits: scalars that train with the towers."""

from typing import NamedTuple

import jax


class Logits(NamedTuple):
  """`similarity / temperature + bias`.

  Attributes:
    temperature: f32[], above 0.
    bias: f32[], of the sigmoid loss; None where no loss reads one.
  """

  temperature: jax.Array | float
  bias: jax.Array | float | None = None
