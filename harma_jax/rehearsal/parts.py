"""Where the time of a step goes, by the names that the code leaves in the program."""

import re

from harma_jax.model.additions import ADDED

COPIES = 'copies of residuals'
REST = 'the rest'
# The first that fits. What a backward pass computes again is of it; what is named `jvp`
# outside the towers is of the loss.
PATTERNS = {
  COPIES: r'Tower.*while/body/.*dynamic(_update)?_slice$',
  'adapters': rf'Tower.*({ADDED}|Adapter)',
  'image tower, backward': r'transpose\(.*ImageTower',
  'text tower, backward': r'transpose\(.*TextTower',
  'image tower, forward': r'ImageTower',
  'text tower, forward': r'TextTower',
  'loss': r'jvp\(',
  # Scopes of `stepping/inputs.py`.
  'augmentation': r'(^|/)augment/',
  'look-up of images': r'(^|/)look_up/',
}
PARTS = (*PATTERNS, REST)


def part_of(op_name: str) -> str:
  """The part of a step, one of `PARTS`, that an instruction belongs to."""
  for part, pattern in PATTERNS.items():
    if re.search(pattern, op_name):
      return part
  return REST
