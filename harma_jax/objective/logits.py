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


# Where the sigmoid loss starts (SigLIP, arXiv 2303.15343): all pairs count as not
# belonging together, or the many negatives would tear the first steps.
FIRST_OF_SIGMOID = Logits(temperature=0.1, bias=-10.0)
