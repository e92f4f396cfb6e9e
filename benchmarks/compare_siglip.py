"""LoRA on SigLIP: the JAX step beside transformers and PEFT, on one machine, in turn.

  python -m benchmarks.compare_siglip --out=FILE.json [--rounds=3] [--steps=5]
    [--warmup=2] [--size=ViT-B-16-SigLIP2-256] [--batch=8]
    [--jax_flags='--config.model.layers=unroll ...']

Every run is a process of its own and the sides take turns; a ratio is the median over
the rounds of two runs that stand side by side: of pairs per second, and of seconds of
the processor a step, which other programs on the same cores disturb less. The JAX side
augments its images, the other does not.
"""

import argparse
import json
import pathlib
import shlex
import statistics
import sys

from benchmarks.compare import REPOSITORY, run_process

SIDES = ('jax', 'torch')


def command(side: str, *, arguments: argparse.Namespace) -> list[str]:
  """The command line of a side; it prints one JSON object."""
  count = [f'--steps={arguments.steps}', f'--warmup={arguments.warmup}']
  if side == 'torch':
    script = str(REPOSITORY / 'benchmarks/siglip_baseline.py')
    shape = [f'--size={arguments.size}', f'--batch={arguments.batch}']
    return [sys.executable, script, *shape, *count]
  fields = {
    'model.size': arguments.size,
    'model.adapters': 'lora',
    'model.dtype': 'float32',
    'objective.triplet_weight': 0.0,
    'train.batch_size': arguments.batch,
  }
  return [
    *(sys.executable, '-m', 'harma_jax.bench', '--mode=step', *count),
    f'--config={REPOSITORY / "configs/common.py"}',
    *(f'--config.{name}={value}' for name, value in fields.items()),
    *shlex.split(arguments.jax_flags),
  ]


def compare(arguments: argparse.Namespace) -> dict:
  """What both sides found in each round, and how many times as fast JAX is."""
  found = {side: [] for side in SIDES}
  for _ in range(arguments.rounds):
    for side, results in found.items():
      words = command(side, arguments=arguments)
      results.append(run_process(words, platform='cpu'))
  failed = [
    result for side in SIDES for result in found[side] if isinstance(result, str)
  ]
  if failed:
    sys.exit(failed[0])
  rounds = list(zip(*found.values(), strict=True))
  ratios = [
    ours['pairs_per_second']['median'] / theirs['pairs_per_second']['median']
    for ours, theirs in rounds
  ]
  of_processor = [
    theirs['processor_seconds'] / ours['processor_seconds'] for ours, theirs in rounds
  ]
  return {
    'command': ' '.join(['python -m benchmarks.compare_siglip', *sys.argv[1:]]),
    'processor': processor(),
    'speed over PyTorch eager': statistics.median(ratios),
    'of the rounds': ratios,
    'processor seconds of PyTorch over ours': statistics.median(of_processor),
    'processor seconds of the rounds': of_processor,
    'runs': found,
  }


def processor() -> str:
  """The name of this machine's processor, with its cores."""
  lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  names = [line.partition(':')[2].strip() for line in lines if 'model name' in line]
  return f'{names[0]}, {len(names)} cores'


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--size', default='ViT-B-16-SigLIP2-256')
  parser.add_argument('--batch', type=int, default=8)
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--steps', type=int, default=5)
  parser.add_argument('--warmup', type=int, default=2)
  parser.add_argument('--jax_flags', default='')
  return parser.parse_args(arguments)


if __name__ == '__main__':
  given = parse()
  whole = compare(given)
  given.out.write_text(json.dumps(whole, indent=2) + '\n')
  print(f'{whole["speed over PyTorch eager"]:.2f} times as fast, {whole["processor"]}')
