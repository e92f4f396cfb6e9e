"""Searches a folder of images by text or by an image.

`index` makes an index at --out of the pictures in --images. The same command again adds
what is new, encodes again what changed, drops what is gone, tries again what failed, or
goes on where it was stopped. --workdir may also be weights of another program. --tile
and --stride cut large scenes: TIFF and JPEG 2000 are read part by part with pip install
'harma_jax[geo]'. N machines that see the folders share the work, each with its own I of
--share=I/N, counted from 0.

`query` asks an index, in words, by --image=FILE, by --at=LON,LAT or by all together,
with the model that made it. --bbox and --within ask for places, --geojson, --geoparquet
and --csv write them. INDEX may also be embeddings in parquet, as Major TOM publishes
them, with --made_by=NAME. `export` writes an index so, to --out=FILE.parquet.

`serve` shows a page to search by, on this machine alone unless --host says otherwise.

Examples:
  harma-jax search index --workdir=FOLDER --images=PICTURES --out=INDEX
  harma-jax search query --index=INDEX "ships next to a long pier" --top=20
"""

import functools
import pathlib
import time
from collections.abc import Sequence

from absl import flags, logging

from harma_jax import cli
from harma_jax.api import BATCH_SIZE, load
from harma_jax.cli import index_flags, place_flags, query_flags
from harma_jax.errors import UserError
from harma_jax.reporting.progress import show_progress
from harma_jax.search_index.majortom import write_embeddings
from harma_jax.search_index.page import page_of
from harma_jax.search_index.reader import read_crop, stored_how
from harma_jax.search_index.tables import print_hits, print_made
from harma_jax.search_page.archive import Archive
from harma_jax.search_page.server import LOOPBACK, serve

_WORKDIR = cli.shared_flag('workdir')
_OUT = cli.shared_flag('out')
_IMAGES = cli.shared_flag('images')
flags.adopt_module_key_flags(index_flags)
flags.adopt_module_key_flags(query_flags)
_BATCH_SIZE = flags.DEFINE_integer(
  'batch_size', BATCH_SIZE, 'Images that are encoded at once.', lower_bound=1
)
_HTML = flags.DEFINE_string('html', None, 'A page to write, images within.')
flags.adopt_module_key_flags(place_flags)
_HOST = flags.DEFINE_string('host', LOOPBACK, 'The address that the page listens at.')
_PORT = flags.DEFINE_integer(
  'port', 8000, 'Its port; 0: any that is free.', lower_bound=0, upper_bound=65535
)


def main(argv: Sequence[str]) -> None:
  """Runs the command that the command line names."""
  commands = {
    'index': run_index,
    'query': run_query,
    'export': run_export,
    'serve': run_serve,
  }
  if len(argv) < 2 or argv[1] not in commands:
    raise UserError(
      f'Expected one of the commands {", ".join(commands)}; found '
      f'{" ".join(argv[1:]) or "none"}. As in: python -m harma_jax.search query '
      '--index=INDEX "ships next to a long pier"'
    )
  commands[argv[1]](argv[2:])


def run_index(words: Sequence[str]) -> None:
  """Makes an index, or brings one up to date, and says what it holds."""
  cli.no_arguments(['index', *words])
  out = cli.given(_OUT, 'INDEX')
  settings = index_flags.index_settings() | {
    'batch_size': _BATCH_SIZE.value,
    'approximate': query_flags.APPROXIMATE.value,
    'track': show_progress,
  }
  model = load(cli.workdir())
  settings['how'] = index_flags.how(model.how)
  print_made(out, model.make_index(_IMAGES.value, out, **settings))
  while index_flags.WATCH.value:
    time.sleep(index_flags.WATCH.value)
    made = model.make_index(_IMAGES.value, out, **settings)
    if made.is_anything:
      print_made(out, made)


def run_query(words: Sequence[str]) -> None:
  """Prints what an index holds of a text or an image, and writes it where asked."""
  text, image = ' '.join(words), query_flags.IMAGE.value
  texts, box = query_flags.queries(), query_flags.box()
  looked_for, settings = query_flags.query_settings(), query_flags.search_settings()
  index = place_flags.given_index()
  settings['allowed'] = place_flags.allowed_rows(index)
  model = load(_WORKDIR.value or index.manifest['model_path'] or cli.workdir())
  if texts:
    place_flags.expect_no_files()
    answers = model.search_texts(index, texts, **settings)
    query_flags.write_answers(texts, answers, out=_OUT)
    return
  shown = image and pathlib.Path(image).expanduser()
  if box:
    shown = read_crop(shown, box, how=stored_how(index.manifest['preprocessing']))
  hits = model.search(index, text=text, image=shown, **looked_for, **settings)
  print_hits(hits)
  if _HTML.value:
    page = page_of(hits, index, text=text, image=image or '')
    print(f'{cli.write_text(_HTML, page)}: {len(page.encode()):,} bytes')
  place_flags.write_places(hits)


def run_export(words: Sequence[str]) -> None:
  """Writes an index as one file of parquet, in the form of Major TOM."""
  cli.no_arguments(['export', *words])
  out = cli.given(_OUT, 'FILE.parquet')
  rows = write_embeddings(place_flags.given_index(), out)
  print(f'{out}: {rows:,} rows')


def run_serve(words: Sequence[str]) -> None:
  """Shows a page to search an index by, until it is interrupted."""
  cli.no_arguments(['serve', *words])
  index = place_flags.given_index()
  model = load(_WORKDIR.value or index.manifest['model_path'] or cli.workdir())
  model.search(index, text='warm up')  # compiled before the first one asks
  archive = Archive(index=index, search=functools.partial(model.search, index))
  if _HOST.value != LOOPBACK:
    logging.warning('--host=%s: others may see this archive; no password', _HOST.value)
  serve(archive, host=_HOST.value, port=_PORT.value, ready=_say_where)


def _say_where(address: str) -> None:
  print(f'{address}: open it in a browser; Ctrl-C ends it', flush=True)


if __name__ == '__main__':
  cli.run(main, interrupted='Interrupted; the same index command goes on.')
