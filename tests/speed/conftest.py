"""A peak that is measured fast, and toy recipes."""

import pytest

from harma_jax.building.model import build_model
from harma_jax.building.recipe import build_recipe
from harma_jax.speed import figures


@pytest.fixture
def fast_peak(monkeypatch):
  monkeypatch.setattr(figures, 'MATMUL_SIDE', {'cpu': 16})
  monkeypatch.setattr(figures, 'MATMUL_REPEATS', 1)


@pytest.fixture
def small_recipe(small_config):
  """`small_recipe(changes)`: of `small_config(changes)`."""

  def make(changes):
    config = small_config(changes)
    return build_recipe(config, build_model(config))

  return make
