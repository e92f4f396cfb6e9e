"""Searches a folder of images by text or by an image.

`index` makes an index at --out of the pictures in --images, or goes on with one that
was stopped. --workdir may also be weights of another program. --tile and --stride cut
large scenes: TIFFs are read window by window with pip install 'harma_jax[geo]'. N
machines that see the folders share the work, each with its own I of --share=I/N,
counted from 0.

`query` asks an index, in words or by --image=FILE, with the model that made it.
--bbox and --within ask for places, --geojson, --geoparquet and --csv write them. INDEX
may also be embeddings in parquet, as Major TOM publishes them, with --made_by=NAME.

`export` writes an index in that form, to --out=FILE.parquet.

Examples:
  harma-jax search index --workdir=FOLDER --images=PICTURES --out=INDEX
  harma-jax search query --index=INDEX "ships next to a long pier" --top=20
"""

import re
from collections.abc import Sequence

from absl import flags

from harma_jax import cli
from harma_jax.api import BATCH_SIZE, load
from harma_jax.cli import place_flags
from harma_jax.errors import UserError
from harma_jax.reporting.progress import show_progress
from harma_jax.search_index.majortom import write_embeddings
from harma_jax.search_index.page import page_of
from harma_jax.search_index.tables import print_hits

_WORKDIR = cli.shared_flag('workdir')
_OUT = cli.shared_flag('out')
_IMAGES = cli.shared_flag('images')
_TILE = flags.DEFINE_integer('tile', 0, 'Pixels; 0: images are not cut.', lower_bound=0)
_STRIDE = flags.DEFINE_integer('stride', 0, 'Pixels; 0: half a tile.', lower_bound=0)
_SHARE = flags.DEFINE_string('share', '0/1', 'I/N: the work of machine I out of N.')
_BATCH_SIZE = flags.DEFINE_integer(
  'batch_size', BATCH_SIZE, 'Images that are encoded at once.', lower_bound=1
)
_APPROXIMATE = flags.DEFINE_bool(
  'approximate', False, 'Make, and search by, a graph: for millions of images.'
)
_IMAGE = flags.DEFINE_string('image', None, 'An image file to search for.')
_TOP = flags.DEFINE_integer('top', 12, 'How many are shown.', lower_bound=1)
_HTML = flags.DEFINE_string('html', None, 'A page to write, images within.')
flags.adopt_module_key_flags(place_flags)


def main(argv: Sequence[str]) -> None:
  """Runs the command that the command line names."""
  commands = {'index': run_index, 'query': run_query, 'export': run_export}
  if len(argv) < 2 or argv[1] not in commands:
    raise UserError(
      f'Expected one of the commands {", ".join(commands)}; found '
      f'{" ".join(argv[1:]) or "none"}. As in: python -m harma_jax.search query '
      '--index=INDEX "ships next to a long pier"'
    )
  commands[argv[1]](argv[2:])


def run_index(words: Sequence[str]) -> None:
  """Makes an index, or goes on with one, and says what it holds."""
  cli.no_arguments(['index', *words])
  out, share = cli.given(_OUT, 'INDEX'), _share()
  skipped = load(cli.workdir()).make_index(
    _IMAGES.value,
    out,
    tile=_TILE.value,
    stride=_STRIDE.value,
    share=share,
    batch_size=_BATCH_SIZE.value,
    approximate=_APPROXIMATE.value,
    track=show_progress,
  )
  print(f'{out}: done; {len(skipped):,} images skipped')


def run_query(words: Sequence[str]) -> None:
  """Prints what an index holds of a text or an image, and writes it where asked."""
  text, image = ' '.join(words), _IMAGE.value
  index = place_flags.given_index()
  allowed = place_flags.allowed_rows(index)
  model = load(_WORKDIR.value or index.manifest['model_path'] or cli.workdir())
  hits = model.search(
    index,
    text=text,
    image=image,
    top=_TOP.value,
    approximate=_APPROXIMATE.value,
    allowed=allowed,
  )
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


def _share() -> tuple[int, int]:
  match = re.fullmatch(r'(\d+)/(\d+)', _SHARE.value)
  if not match:
    raise UserError(f'--share: expected I/N, as in 0/4; found {_SHARE.value!r}.')
  return int(match[1]), int(match[2])


if __name__ == '__main__':
  cli.run(main, interrupted='Interrupted; the same index command goes on.')
