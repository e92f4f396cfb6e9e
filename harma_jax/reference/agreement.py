"""Whether what is computed again agrees with what a file holds."""

import jax
import numpy as np

from harma_jax.errors import UserError
from harma_jax.reference.file import is_quantity
from harma_jax.reference.quantities import quantities

TOLERANCE = 1e-4
TRACE_TOLERANCE = 5e-3


def compare(reference: dict[str, np.ndarray]) -> dict[str, dict]:
  """Computes every quantity of a reference again.

  Args:
    reference: the arrays of a file, by name; `meta` says what model they are of.

  Returns:
    By quantity: `max_abs_error`, `max_rel_error` (relative to the largest entry of the
    expected array) and `ok` (the latter within 1e-4; 5e-3 in the optimizer trace).

  Raises:
    UserError: an array that parity needs is missing, or one that it cannot compute.
  """
  with jax.default_matmul_precision('highest'):
    computed = dict(quantities(reference))
  extra = {name for name in reference if is_quantity(name)} - set(computed)
  if extra:
    raise UserError(
      'Expected quantities that parity can compute; found also '
      f'{", ".join(sorted(extra))}.'
    )
  return {
    name: agreement(name, value, reference[name])
    for name, value in computed.items()
    if name in reference
  }


def agreement(name: str, computed: np.ndarray, expected: np.ndarray) -> dict:
  """How far a quantity is from what was expected, see `compare`.

  Texts may come in any order. In the optimizer trace the part of an attention's bias
  that is the key's is left out.
  """
  tolerance = TRACE_TOLERANCE if name.startswith('optim/') else TOLERANCE
  computed, expected = np.asarray(computed), np.asarray(expected)
  if computed.shape != expected.shape or expected.dtype.kind == 'U':
    equal = computed.shape == expected.shape and set(computed) == set(expected)
    error = 0.0 if equal else 1.0
    return {'max_abs_error': error, 'max_rel_error': error, 'ok': equal}
  if name.startswith('optim/') and name.endswith('in_proj_bias'):
    computed, expected = _without_key(computed), _without_key(expected)
  absolute = np.abs(computed.astype(np.float64) - expected).max(initial=0.0)
  largest = np.abs(expected).max(initial=0.0)
  relative = absolute / largest if largest else absolute
  return {
    'max_abs_error': float(absolute),
    'max_rel_error': float(relative),
    'ok': bool(relative <= tolerance),
  }


def _without_key(in_proj_bias: np.ndarray) -> np.ndarray:
  # Softmax ignores a key's bias: its gradient is 0, and Adam turns rounding to steps.
  query, _, value = np.split(in_proj_bias, 3)
  return np.concatenate([query, value])
