"""How fast an index is made, and how fast it answers.

  python -m benchmarks.search --model=RUN --images=FOLDER
    [--count=10000] [--queries=100]

Indexes copies of the folder's images, again and again until there are `--count`, in a
temporary folder, then asks for texts, one after the other, through the API and through
the page's server. `--model` is what `harma_jax.load` takes. Prints JSON.

  python -m benchmarks.search --rows=1000000 [--width=512] [--queries=1000]
    [--folder=FOLDER] [--out=benchmarks/results/exact_search.json]

Searches random unit rows exactly, of 32 and of 16 bits, beside faiss-cpu's IndexFlatIP
with as many threads, in turns. `--folder` is on the disk that holds the indexes.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import pathlib
import queue
import shutil
import statistics
import tempfile
import threading
import time
import tracemalloc
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from harma_jax import load
from harma_jax.search_index.catalogue import File, write_entry
from harma_jax.search_index.exact import top_rows
from harma_jax.search_index.files import find_images
from harma_jax.search_index.index import Index, Part, open_index
from harma_jax.search_index.manifest import claim, make_manifest
from harma_jax.search_index.shards import (
  STORAGES,
  Features,
  Shard,
  store,
  write_shard,
)
from harma_jax.search_page.archive import Archive
from harma_jax.search_page.server import serve

THINGS = ('ships', 'planes', 'trees', 'cars', 'white houses', 'fields', 'storage tanks')
PLACES = ('a long pier', 'a runway', 'a river', 'a road', 'a beach', 'a parking lot')
WORDS = ('next to', 'near', 'around')

ROWS_A_SHARD = 2**16
TOP, MANY, TIMED = 12, 64, 9
TIMES = ('one_query_seconds', f'{MANY}_queries_seconds')


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--model')
  parser.add_argument('--images', type=pathlib.Path)
  parser.add_argument('--count', type=int, default=10_000)
  parser.add_argument('--queries', type=int, default=100)
  parser.add_argument('--rows', type=int)
  parser.add_argument('--width', type=int, default=512)
  parser.add_argument('--folder')
  parser.add_argument('--out', type=pathlib.Path)
  options = parser.parse_args()
  if options.rows:
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
      found = measure_exact(
        pathlib.Path(scratch),
        n_rows=options.rows,
        width=options.width,
        n_queries=options.queries,
      )
  else:
    found = measure_model(options)
  text = json.dumps(found, indent=2)
  print(text)
  if options.out:
    options.out.write_text(text + '\n')


def measure_model(options: argparse.Namespace) -> dict:
  """How fast a model indexes images and answers texts."""
  with tempfile.TemporaryDirectory() as scratch:
    folder, out = pathlib.Path(scratch) / 'images', pathlib.Path(scratch) / 'index'
    copy_images(options.images, folder, count=options.count)
    model = load(options.model)
    seconds = timed(model.make_index, folder, out)
    index = open_index(out)
    texts = itertools.islice(queries(), options.queries + 1)
    first, *later = (timed(model.search, index, text=text) for text in texts)
    search = functools.partial(model.search, index)
    with serving(Archive(index=index, search=search)) as address:
      texts = itertools.islice(queries(), options.queries + 1)
      _, *by_page = (timed(ask, address, text) for text in texts)
  return {
    'model': pathlib.Path(options.model).name,
    'device': f'{jax.device_count()} {jax.devices()[0].device_kind}',
    'cores': len(os.sched_getaffinity(0)),
    'images': len(index),
    'build_seconds': seconds,
    'images_per_second': len(index) / seconds,
    'first_query_seconds': first,
    'query_seconds': statistics.median(later),
    'query_seconds_p95': statistics.quantiles(later, n=20)[-1],
    'page_query_seconds': statistics.median(by_page),
    'page_query_seconds_p95': statistics.quantiles(by_page, n=20)[-1],
  }


@contextlib.contextmanager
def serving(archive: Archive) -> Iterator[str]:
  """The address at which a page's server answers, from a thread of its own."""
  addresses = queue.SimpleQueue()
  threading.Thread(
    target=serve,
    args=(archive,),
    kwargs={'host': '127.0.0.1', 'port': 0, 'ready': addresses.put},
    daemon=True,
  ).start()
  yield addresses.get(timeout=60)


def ask(address: str, text: str) -> dict:
  """What the page is told of a text."""
  request = urllib.request.Request(
    f'{address}search',
    data=json.dumps({'text': text}).encode(),
    headers={'Content-Type': 'application/json'},
  )
  with urllib.request.urlopen(request) as response:
    return json.load(response)


def measure_exact(
  folder: pathlib.Path, *, n_rows: int, width: int, n_queries: int
) -> dict:
  """How fast, how large and how exact a search of random unit rows is."""
  rng = np.random.default_rng(0)
  rows = np.empty((n_rows, width), np.float32)
  for start in range(0, n_rows, ROWS_A_SHARD):
    some = unit_rows(rng, min(ROWS_A_SHARD, n_rows - start), width)
    rows[start : start + len(some)] = some
  queries = unit_rows(rng, n_queries, width)
  threads = len(os.sched_getaffinity(0))
  found = {'rows': n_rows, 'width': width, 'threads': threads}
  indexes = {
    storage: write_rows(folder / storage, rows, storage=storage) for storage in STORAGES
  }
  found['float16_same_first_ten'] = same_share(
    first_ten([Part(Features(rounded(rows)))], queries),
    exact := first_ten([Part(Features(rows))], queries),
  )
  searches = {'faiss': faiss_search(rows, threads=threads)}
  del rows
  for storage, index in indexes.items():
    searches[storage] = functools.partial(top_rows, index.parts, top=TOP)
  found |= times(searches, queries)
  for storage, index in indexes.items():
    arrays = [array for part in index.parts for array in part.features]
    tracemalloc.start()
    first = first_ten(index.parts, queries)
    found[storage] |= {
      'bytes': sum(array.nbytes for array in arrays if array is not None),
      'memory_bytes': tracemalloc.get_traced_memory()[1],
      'same_first_ten': same_share(first, exact),
    }
    tracemalloc.stop()
  return found | {'queries': n_queries}


def unit_rows(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
  """f32[count, width], random, of length 1."""
  rows = rng.standard_normal((count, width), np.float32)
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_rows(folder: pathlib.Path, rows: np.ndarray, *, storage: str) -> Index:
  """An index of rows that no image has, a thousand to a file."""
  manifest = make_manifest(
    folder,
    images=folder,
    model={'model_sha256': '', 'model_path': ''},
    preprocessing={},
    tiles=[(0, 0)],
    storage=storage,
  )
  claim(folder, manifest)
  for start in range(0, len(rows), ROWS_A_SHARD):
    some = rows[start : start + ROWS_A_SHARD]
    boxes = np.zeros((len(some), 4), np.int32)
    name = write_shard(folder, Shard(store(some, storage=storage), boxes, None))
    file = File(size=0, mtime_ns=0, shard=name, rows=len(some))
    write_entry(folder, {f'{start:010}': file}, found=0)
  return open_index(folder)


def faiss_search(rows: np.ndarray, *, threads: int) -> Callable:
  """The search of faiss's exact index of f32."""
  import faiss

  faiss.omp_set_num_threads(threads)
  index = faiss.IndexFlatIP(rows.shape[1])
  index.add(rows)
  return lambda queries: index.search(queries, TOP)


def times(
  searches: Mapping[str, Callable], queries: np.ndarray
) -> dict[str, dict[str, float]]:
  """Median seconds of one query and of many at once, and how often faiss's these are.

  The searches take turns: whatever else the machine does comes to all of them.
  """
  found = {name: {} for name in searches}
  for time_name, some in zip(TIMES, (queries[:1], queries[:MANY]), strict=True):
    seconds = {name: [] for name in searches}
    for _ in range(1 + TIMED):
      for name, search in searches.items():
        seconds[name].append(timed(search, some))
    for name, taken in seconds.items():
      found[name][time_name] = statistics.median(taken[1:])  # the first reads pages
  for name in found.keys() - {'faiss'}:
    for time_name in TIMES:
      ratio = found[name][time_name] / found['faiss'][time_name]
      found[name][f'{time_name}_of_faiss'] = ratio
  return found


def first_ten(parts: Sequence[Part], queries: np.ndarray) -> np.ndarray:
  """i64[Q, 10], the first ten rows of each query."""
  starts = range(0, len(queries), MANY)
  found = [top_rows(parts, queries[start : start + MANY], top=10) for start in starts]
  return np.concatenate([best.rows for best in found])


def rounded(rows: np.ndarray) -> np.ndarray:
  """What 16-bit floats would make of the rows, f32."""
  found = np.empty_like(rows)
  for start in range(0, len(rows), ROWS_A_SHARD):
    some = slice(start, start + ROWS_A_SHARD)
    found[some] = rows[some].astype(np.float16)
  return found


def same_share(rows: np.ndarray, others: np.ndarray) -> float:
  """The share of queries with the same set of rows."""
  return float(np.mean([{*a} == {*b} for a, b in zip(rows, others, strict=True)]))


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
