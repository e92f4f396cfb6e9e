"""How fast an index is made, and how fast it answers.

  python -m benchmarks.search --model=RUN --images=FOLDER
    [--count=10000] [--queries=100]

Indexes copies of the folder's images, again and again until there are `--count`, in a
temporary folder, then asks for texts, one after the other. `--model` is what
`harma_jax.load` takes. Prints JSON.
"""

import argparse
import itertools
import json
import os
import pathlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import jax

from harma_jax import load
from harma_jax.search_index.files import find_images
from harma_jax.search_index.index import open_index

THINGS = ('ships', 'planes', 'trees', 'cars', 'white houses', 'fields', 'storage tanks')
PLACES = ('a long pier', 'a runway', 'a river', 'a road', 'a beach', 'a parking lot')
WORDS = ('next to', 'near', 'around')


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--model', required=True)
  parser.add_argument('--images', type=pathlib.Path, required=True)
  parser.add_argument('--count', type=int, default=10_000)
  parser.add_argument('--queries', type=int, default=100)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as scratch:
    folder, out = pathlib.Path(scratch) / 'images', pathlib.Path(scratch) / 'index'
    copy_images(options.images, folder, count=options.count)
    model = load(options.model)
    seconds = timed(model.make_index, folder, out)
    index = open_index(out)
    texts = itertools.islice(queries(), options.queries + 1)
    first, *later = (timed(model.search, index, text=text) for text in texts)
  found = {
    'model': pathlib.Path(options.model).name,
    'device': f'{jax.device_count()} {jax.devices()[0].device_kind}',
    'cores': len(os.sched_getaffinity(0)),
    'images': len(index),
    'build_seconds': seconds,
    'images_per_second': len(index) / seconds,
    'first_query_seconds': first,
    'query_seconds': statistics.median(later),
    'query_seconds_p95': statistics.quantiles(later, n=20)[-1],
  }
  print(json.dumps(found, indent=2))


def copy_images(source: pathlib.Path, folder: pathlib.Path, *, count: int) -> None:
  """Copies images of `source` to numbered folders until there are `count`."""
  names = find_images(source)
  for number in range(count):
    turn, place = divmod(number, len(names))
    copy = folder / str(turn) / names[place]
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / names[place], copy)


def queries() -> Iterator[str]:
  """Different texts."""
  for thing, word, place in itertools.product(THINGS, WORDS, PLACES):
    yield f'{thing} {word} {place}'


def timed(call: Callable, *arguments, **options) -> float:
  """Seconds that a call takes."""
  start = time.perf_counter()
  call(*arguments, **options)
  return time.perf_counter() - start


if __name__ == '__main__':
  main()
