"""A library that is not there is one message."""

import sys

import pytest

from harma_jax.errors import UserError
from harma_jax.search_index import extras


@pytest.mark.parametrize(
  ('library', 'extra'),
  [('pyarrow', 'parquet'), ('shapely', 'geo'), ('rasterio', 'geo')],
)
def test_a_missing_library_is_named_with_its_extra(library, extra, monkeypatch):
  monkeypatch.setitem(sys.modules, library, None)
  message = rf'--flag: expected {library}; .*harma_jax\[{extra}\]'
  with pytest.raises(UserError, match=message):
    getattr(extras, library)('--flag')
