"""A peak that is measured fast."""

import pytest

from harma_jax.speed import figures


@pytest.fixture
def fast_peak(monkeypatch):
  monkeypatch.setattr(figures, 'MATMUL_SIDE', {'cpu': 16})
  monkeypatch.setattr(figures, 'MATMUL_REPEATS', 1)
