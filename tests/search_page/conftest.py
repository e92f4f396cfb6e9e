"""The indexes of the tests of search, here too."""

from tests.search_index.conftest import begin, made_index, unit_rows, write

__all__ = ['begin', 'made_index', 'unit_rows', 'write']
