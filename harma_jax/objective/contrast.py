"""The contrastive losses by name, and what harmonization asks of each."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from harma_jax.errors import expect_one_of
from harma_jax.objective.contrastive import contrastive, contrastive_repulsion
from harma_jax.objective.sigmoid import sigmoid, sigmoid_repulsion

Part = Callable[..., jax.Array]


class Contrast(NamedTuple):
  """A contrastive loss; both functions are `(similarity, same, *, logits) -> f32[C]`.

  Attributes:
    loss: of C anchors, see `anchors`.
    repulsion: the part of it that moves an anchor away from items of other images.
    directed: whether the losses of the two directions are different functions.
  """

  loss: Part
  repulsion: Part
  directed: bool


CONTRASTS = {
  'softmax': Contrast(contrastive, contrastive_repulsion, directed=True),
  'sigmoid': Contrast(sigmoid, sigmoid_repulsion, directed=False),
}


def contrast_of(name: str) -> Contrast:
  """The loss of `objective.contrastive`.

  Raises:
    UserError: an unknown name.
  """
  expect_one_of(CONTRASTS, 'objective.contrastive', found=name)
  return CONTRASTS[name]
