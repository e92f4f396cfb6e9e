"""What compilers make of the step, beside that of another commit: no device is needed.

  python -m benchmarks.compiled --baseline=CHECKOUT --out=FILE.json [--only=NAME ...]

CHECKOUT is a folder with the other commit (`git worktree add FOLDER 6b808a1`). Wants
libtpu (`pip install 'harma_jax[tpu]'`) or the CUDA plugin (`[cuda]`). Times are the TPU
compiler's estimates, and of Pallas kernels, which carry none, the larger of FLOP at the
peak and bytes at the bandwidth: `rehearsal/estimate.py`. Memory is the compiler's plan.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

from harma_jax.devices.targets import read_topology
from harma_jax.rehearsal.estimate import estimate
from harma_jax.rehearsal.hlo import read_program

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / 'benchmarks/compile_checkout.py'
GIB = 2**30
# name: topology, pairs, tokens, size
CASES = {
  'v5e_77': ('v5e:2x2', 428, 77, 'ViT-B-32-quickgelu'),
  'v5e_32': ('v5e:2x2', 428, 32, 'ViT-B-32-quickgelu'),
  'v5e_one': ('v5e:1x1', 428, 77, 'ViT-B-32-quickgelu'),
  'h200': ('h200:1', 428, 77, 'ViT-B-32-quickgelu'),
  'h100': ('h100:1', 4096, 32, 'ViT-B-32-quickgelu'),
  'l4': ('l4-24:1', 428, 77, 'ViT-L-14'),
}


def compile_side(checkout: pathlib.Path, name: str, *, folder: pathlib.Path) -> dict:
  """What a checkout's step takes in a case, by its defaults."""
  text, pairs, tokens, size = CASES[name]
  topology = read_topology(text)
  fields = {
    'model.size': size,
    'train.batch_size': pairs,
    'data.context_length': tokens,
    'data.cache': 'device',
  }
  case, out = folder / 'case.json', folder / 'out'
  platform = topology.target.platform
  about = {'topology': topology.wants, 'platform': platform, 'fields': fields}
  case.write_text(json.dumps(about))
  words = [sys.executable, str(SCRIPT), str(checkout), str(case), str(out)]
  subprocess.run(words, check=True, capture_output=True, text=True)
  found = json.loads(out.with_suffix('.json').read_text())
  if 'refused' in found:
    return found | {'fits': False}
  needed = found['arguments'] + found['outputs'] + found['temporaries']
  # A TPU's compiler refuses what does not fit; a GPU's compiles it all the same.
  fits = needed - found['aliased'] <= topology.target.memory
  found['fits'] = fits or platform == 'tpu'
  if topology.target.clock:
    time = estimate(read_program(out.with_suffix('.hlo').read_text()), topology.target)
    kernels = sum(kernel.seconds for kernel in time.kernels)
    found |= {
      'estimated_ms': 1e3 * time.seconds,
      'of_it_kernels_counted_ms': 1e3 * kernels,
      'parts_ms': {part: 1e3 * seconds for part, seconds in time.parts.items()},
    }
  return found


def compare(baseline: pathlib.Path, name: str) -> dict:
  """Both sides of a case, and their ratios."""
  with tempfile.TemporaryDirectory() as folder:
    before, after = (
      compile_side(checkout, name, folder=pathlib.Path(folder))
      for checkout in (baseline, REPOSITORY)
    )
  ratios = {
    figure: after[figure] / before[figure]
    for figure in ('estimated_ms', 'temporaries')
    if figure in before and figure in after
  }
  return {'case': CASES[name], 'before': before, 'after': after, 'ratios': ratios}


def line(name: str, row: dict) -> str:
  """A row in words."""

  def side(found):
    if 'refused' in found:
      return 'refused'
    fits = 'fits' if found['fits'] else 'does not fit'
    time = f'{found["estimated_ms"]:.1f} ms, ' if 'estimated_ms' in found else ''
    return f'{time}{found["temporaries"] / GIB:.2f} GiB, {fits}'

  ratios = ', '.join(f'{figure} {ratio:.3f}' for figure, ratio in row['ratios'].items())
  return f'{name}: {side(row["before"])} -> {side(row["after"])}; {ratios}'


def main() -> None:
  """Measures the cases asked for; a file that is there keeps its others."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--baseline', type=pathlib.Path, required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--only', nargs='*', choices=CASES, default=list(CASES))
  arguments = parser.parse_args()
  rows = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
  for name in arguments.only:
    rows[name] = compare(arguments.baseline, name)
    print(line(name, rows[name]), flush=True)
    arguments.out.write_text(json.dumps(rows, indent=2) + '\n')


if __name__ == '__main__':
  main()
