"""Whether other seeds would reverse a difference."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def seed_test(first: Sequence[float], second: Sequence[float]) -> dict:
  """Student's paired t-test of second less first, a value for each seed.

  Returns:
    `low` and `high` of the 95 % interval of the mean difference, and the two-sided
    `p_value`; all None where every seed has the same difference, which has no spread.
  """
  differences = np.subtract(second, first)
  if np.allclose(differences, differences[0]):
    return {'low': None, 'high': None, 'p_value': None}
  test = stats.ttest_rel(second, first)
  low, high = test.confidence_interval(0.95)
  return {'low': float(low), 'high': float(high), 'p_value': float(test.pvalue)}
