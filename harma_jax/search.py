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
from collections.abc import Sequence

from absl import flags

from harma_jax import cli
from harma_jax.cli import index_flags, place_flags, query_flags, serve_flags
from harma_jax.errors import UserError

cli.shared_flag('workdir')
_OUT = cli.shared_flag('out')
_IMAGES = cli.shared_flag('images')
cli.shared_flag('json')
_BATCH_SIZE = flags.DEFINE_integer(
  'batch_size', 64, 'Images that are encoded at once.', lower_bound=1
)
for _of in (index_flags, query_flags, place_flags, serve_flags):
  flags.adopt_module_key_flags(_of)


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
  from harma_jax.api import load
  from harma_jax.reporting.progress import show_progress
  from harma_jax.search_index.tables import print_made

  cli.no_arguments(['index', *words])
  out = cli.given(_OUT, 'INDEX')
  settings = index_flags.index_settings() | {'batch_size': _BATCH_SIZE.value}
  settings |= {'approximate': query_flags.APPROXIMATE.value, 'track': show_progress}
  model = load(cli.workdir())
  settings['how'] = index_flags.how(model.how)
  for look in index_flags.looks():
    made = model.make_index(_IMAGES.value, out, **settings)
    if made.is_anything or not look:
      print_made(out, made)


def run_query(words: Sequence[str]) -> None:
  """Prints what an index holds of a text or an image, and writes it where asked."""
  from harma_jax.api import load

  text, texts = ' '.join(words), query_flags.queries()
  looked_for, settings = query_flags.query_settings(), query_flags.search_settings()
  index = place_flags.given_index()
  settings['allowed'] = place_flags.allowed_rows(index)
  shown, model = query_flags.shown_image(index), load(place_flags.model_path(index))
  if texts:
    place_flags.expect_no_files()
    answers = model.search_texts(index, texts, **settings)
    query_flags.write_answers(texts, answers, out=_OUT)
    return
  hits = model.search(index, text=text, image=shown, **looked_for, **settings)
  query_flags.write_page(hits, index, text=text)
  place_flags.write_places(hits)
  query_flags.show(text, hits)


def run_export(words: Sequence[str]) -> None:
  """Writes an index as one file of parquet, in the form of Major TOM."""
  from harma_jax.search_index.majortom import write_embeddings

  cli.no_arguments(['export', *words])
  out = cli.given(_OUT, 'FILE.parquet')
  rows = write_embeddings(place_flags.given_index(), out)
  print(f'{out}: {rows:,} rows')


def run_serve(words: Sequence[str]) -> None:
  """Shows a page to search an index by, until it is interrupted."""
  from harma_jax.api import load

  cli.no_arguments(['serve', *words])
  index = place_flags.given_index()
  model = load(place_flags.model_path(index))
  serve_flags.serve_index(index, search=functools.partial(model.search, index))


if __name__ == '__main__':
  cli.run(main, farewell=cli.resuming('index'), compiles=True)
