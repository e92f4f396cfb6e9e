"""A step of LoRA on SigLIP by transformers and PEFT, what ours is measured against.

  python -m benchmarks.siglip_baseline [--size=ViT-B-16-SigLIP2-256] [--batch=8]
    [--steps=10] [--warmup=2]

Prints one JSON object. Eager PyTorch in f32 on the CPU: transformers' `SiglipModel`
with its fused attention and its own sigmoid loss at random weights, and PEFT's LoRA of
rank 8 on query and value in both towers, as ours is by default.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import peft
import torch
import transformers
from torch import nn
from torch_baseline import PERCENTILES, make_optimizer, time_steps

from harma_jax.model.sizes import Size, named_size

LORA = {'r': 8, 'lora_alpha': 16, 'target_modules': ['q_proj', 'v_proj']}


def make_model(size: Size) -> nn.Module:
  """`SiglipModel` of a size with LoRA, of which alone the gradient is taken."""
  towers = {
    name: {
      'hidden_size': tower.width,
      'num_hidden_layers': tower.layers,
      'num_attention_heads': tower.heads,
      'intermediate_size': tower.inner,
    }
    for name, tower in (('vision_config', size.image), ('text_config', size.text))
  }
  towers['vision_config'] |= {
    'image_size': size.image_size,
    'patch_size': size.patch_size,
  }
  towers['text_config'] |= {
    'vocab_size': size.vocabulary,
    'max_position_embeddings': size.context_length,
    'projection_size': size.embedding,
  }
  model = transformers.SiglipModel(transformers.SiglipConfig(**towers))
  return peft.get_peft_model(model, peft.LoraConfig(**LORA))


def make_step(model: nn.Module) -> Callable:
  """Builds `step(batch) -> (loss, gradient norm)`, which updates `model`."""
  named = model.named_parameters()
  trainable = {name: leaf for name, leaf in named if leaf.requires_grad}
  optimizer = make_optimizer(trainable)

  def step(batch):
    pixels = batch['images'].permute(0, 3, 1, 2).float() / 127.5 - 1
    tokens = batch['tokens']
    loss = model(input_ids=tokens, pixel_values=pixels, return_loss=True).loss
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.get_total_norm(leaf.grad for leaf in trainable.values())
    optimizer.step()
    return loss.detach(), norm

  return step


def random_batch(size: Size, *, batch: int) -> dict[str, torch.Tensor]:
  """Random pixels u8[B, side, side, 3], and random tokens i64[B, L]."""
  rng = np.random.default_rng(0)
  shape = (batch, size.image_size, size.image_size, 3)
  return {
    'images': torch.from_numpy(rng.integers(0, 256, shape, np.uint8)),
    'tokens': torch.from_numpy(
      rng.integers(1, size.vocabulary, (batch, size.context_length))
    ),
  }


def measure(arguments: argparse.Namespace) -> dict:
  """Speed, as `harma_jax.bench` reports it."""
  torch.manual_seed(0)
  size = named_size(arguments.size)
  model = make_model(size)
  step, batch = make_step(model), random_batch(size, batch=arguments.batch)
  timing = {'warmup': arguments.warmup, 'steps': arguments.steps}
  before = time.process_time()
  _, seconds = time_steps(step, batch, **timing, device='cpu')
  # It takes a first step and a last one too.
  processor = (time.process_time() - before) / (sum(timing.values()) + 2)
  rates = arguments.batch / seconds
  return {
    'framework': f'torch {torch.__version__}, transformers '
    f'{transformers.__version__}, peft {peft.__version__}',
    'device': 'cpu',
    'size': arguments.size,
    'batch': arguments.batch,
    'trainable': sum(p.numel() for p in model.parameters() if p.requires_grad),
    'processor_seconds': processor,
    'pairs_per_second': {
      name: float(np.percentile(rates, q)) for name, q in PERCENTILES.items()
    },
  }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--size', default='ViT-B-16-SigLIP2-256')
  parser.add_argument('--batch', type=int, default=8)
  parser.add_argument('--warmup', type=int, default=2)
  parser.add_argument('--steps', type=int, default=10)
  return parser.parse_args(arguments)


if __name__ == '__main__':
  print(json.dumps(measure(parse())))
