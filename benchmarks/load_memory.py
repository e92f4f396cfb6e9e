"""Host memory that loading takes: random weights of a size, loaded in a new process.

  python -m benchmarks.load_memory [ViT-L-14] > benchmarks/results/load_memory.json

Needs Linux, three times the weights in memory and once on the disk of TMPDIR.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import safetensors.numpy

from harma_jax.building.params import build_fresh
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.sizes import named_size
from harma_jax.weights.load import is_new, load_weights
from harma_jax.weights.names import give, names_of, paths_of
from harma_jax.weights.sources import open_source

LOAD = '--load'


def main(*arguments: str) -> None:
  """Prints what `measure` finds; the process that it starts prints what it loaded."""
  if LOAD in arguments:
    print(json.dumps(load(*arguments[1:])))
  else:
    rows = [measure(*arguments, dtype=dtype) for dtype in ('float32', 'float16')]
    print(json.dumps(rows, indent=2))


def measure(size: str = 'ViT-L-14', *, dtype: str) -> dict:
  """Peak memory above that of the imports, in bytes and in units of the file's size."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'model.safetensors'
    write_random(path, size=size, dtype=dtype)
    command = [sys.executable, __file__, LOAD, str(path), size]
    found = json.loads(subprocess.check_output(command, text=True))
    n_bytes = path.stat().st_size
  peak = found['peak_bytes'] - found['baseline_bytes']
  return {
    'size': size,
    'file_dtype': dtype,
    'file_bytes': n_bytes,
    **found,
    'peak_above_baseline_bytes': peak,
    'ratio_to_file': round(peak / n_bytes, 3),
  }


def write_random(path: pathlib.Path, *, size: str, dtype: str) -> None:
  """Writes random weights under the names of OpenCLIP."""
  clip = Clip(size=named_size(size), shared_adapter='none')
  shapes = paths_of(jax.eval_shape(clip.init, jax.random.key(0)))
  del shapes['temperature']
  rng = np.random.default_rng(0)
  leaves = {
    name: rng.standard_normal(leaf.shape, np.float32) for name, leaf in shapes.items()
  }
  names = names_of(
    leaves,
    layout='open_clip',
    image_layers=clip.size.image.layers,
    text_layers=clip.size.text.layers,
  )
  tensors = give(names, leaves, patch=clip.size.patch_size)
  tensors = {name: np.array(t, dtype, order='C') for name, t in tensors.items()}
  safetensors.numpy.save_file(tensors, path)


def load(path: str, size: str) -> dict:
  """Loads weights as a run does, with fresh adapters; this process's memory."""
  model = Clip(size=named_size(size), adapter=AdapterSettings())
  fresh = build_fresh(model, jax.random.key(0))
  assert any(map(is_new, paths_of(fresh)))
  pathlib.Path('/proc/self/clear_refs').write_text('5')  # sets the peak back
  baseline, start = _memory('VmRSS'), time.monotonic()
  params = jax.block_until_ready(load_weights(open_source(path), fresh, model=model))
  return {
    'parameters': sum(leaf.size for leaf in jax.tree.leaves(params)),
    'baseline_bytes': baseline,
    'peak_bytes': _memory('VmHWM'),
    'seconds': round(time.monotonic() - start, 1),
  }


def _memory(field: str) -> int:
  status = pathlib.Path('/proc/self/status').read_text()
  return 1024 * int(re.search(rf'{field}:\s+(\d+)', status)[1])


if __name__ == '__main__':
  main(*sys.argv[1:])
