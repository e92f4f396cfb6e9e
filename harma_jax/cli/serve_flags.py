"""The flags of `search serve`, and serving a page as they say."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from absl import flags, logging

from harma_jax.search_page.address import LOOPBACK

if TYPE_CHECKING:
  from harma_jax.search_index.index import Index
  from harma_jax.search_page.archive import Archive

_HOST = flags.DEFINE_string('host', LOOPBACK, 'The address that the page listens at.')
_PORT = flags.DEFINE_integer(
  'port', 8000, 'Its port; 0: any that is free.', lower_bound=0, upper_bound=65535
)


def serve_index(index: 'Index', *, search: Callable) -> None:
  """Shows a page to search an index by `search`, which is that of its model."""
  from harma_jax.search_page.archive import Archive

  search(text='warm up')  # compiled before the first one asks
  serve_archive(Archive(index=index, search=search))


def serve_archive(archive: 'Archive') -> None:
  """Shows a page to search an archive by, until it is interrupted."""
  from harma_jax.search_page.server import serve

  if _HOST.value != LOOPBACK:
    logging.warning('--host=%s: others may see this archive; no password', _HOST.value)
  serve(archive, host=_HOST.value, port=_PORT.value, ready=_say_where)


def _say_where(address: str) -> None:
  print(f'{address}: open it in a browser; Ctrl-C ends it', flush=True)
