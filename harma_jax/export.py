"""Writes the selected weights of a run for other programs.

Formats:
  harma               a file of the original HarMA, .safetensors or .pth
  adapter             a folder with the adapters alone, for harma_jax
  peft                a folder of PEFT, LoRA alone, for transformers' model
  open_clip           a folder of OpenCLIP; of runs with LoRA or no adapters
  huggingface         a folder of transformers' own model, of the same runs
  huggingface-remote  a folder of transformers, with the adapters' code
  onnx                a folder of two graphs, images and captions; needs torch

LoRA is merged into the weights but for adapter and peft. A model card lies in the
folder, or beside the file. --push=USER/NAME puts all of it into a repository of the
Hugging Face hub, as whom `hf auth login` or HF_TOKEN says; it is made where there is
none.

Examples:
  harma-jax export --workdir=FOLDER --format=harma --out=harma.safetensors
  harma-jax export --workdir=FOLDER --format=huggingface-remote --out=MODEL
  harma-jax export --workdir=FOLDER --format=onnx --out=MODEL --push=USER/NAME
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from harma_jax import cli
from harma_jax.weights.formats import FORMATS

cli.shared_flag('workdir')
_OUT = cli.shared_flag('out')
_FORMAT = flags.DEFINE_string('format', None, f'One of {", ".join(FORMATS)}.')
_PUSH = flags.DEFINE_string('push', None, 'Repository of the hub, USER/NAME.')
_OVERWRITE = flags.DEFINE_bool('overwrite', False, 'Replace an earlier export.')


def main(argv: Sequence[str]) -> None:
  """Exports what the command line names."""
  from harma_jax.results.export import export
  from harma_jax.weights.push import check_repository, push

  cli.no_arguments(argv)
  workdir = cli.workdir()
  format = cli.given(_FORMAT, 'FORMAT')
  out = pathlib.Path(cli.given(_OUT, 'PATH')).expanduser()
  if _PUSH.value is not None:
    check_repository(_PUSH.value)
  export(workdir, format=format, out=out, overwrite=_OVERWRITE.value)
  print(f'{out}: {_size(out) / 1e6:,.1f} MB')
  if _PUSH.value is not None:
    print(f'pushed: {push(out, repository=_PUSH.value)}')


def _size(out: pathlib.Path) -> int:
  files = out.iterdir() if out.is_dir() else [out]
  return sum(file.stat().st_size for file in files)


if __name__ == '__main__':
  cli.run(main)
