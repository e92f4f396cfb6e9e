"""One HarMA train step in plain PyTorch, what the JAX step is measured against.

  python -m benchmarks.torch_baseline [--size=ViT-B-32] [--batch=32] [--tokens=77]
    [--variant=eager|compiled] [--device=cpu|cuda] [--steps=10] [--warmup=2]

Prints one JSON object. `eager` computes in f32, `compiled` in bf16 by autocast under
torch.compile; both use PyTorch's fused attention and no gradient of a frozen weight.
"""

import argparse
import collections
import json
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from harma_jax.model.sizes import Size, TowerSize, named_size

BOTTLENECK, SHARED_BOTTLENECK, ADAPTER_HEADS = 128, 64, 8
FIRST_GATE, FIRST_TEMPERATURE = 0.6, 0.07
TEMPERATURE_RANGE = (0.01, 0.5)
MARGIN, GAMMA, RELEASED_BATCH = 0.2, 2.0, 428
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
VARIANTS = ('eager', 'compiled')
PERCENTILES = {'median': 50, 'p5': 5, 'p95': 95}


class Attention(nn.Module):
  """Self-attention with the weights of `nn.MultiheadAttention`."""

  def __init__(self, width: int, heads: int, *, causal: bool = False):
    super().__init__()
    self.heads, self.causal = heads, causal
    self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
    self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
    self.out_proj = nn.Linear(width, width)

  def forward(self, x, mask=None):
    """`x` [B, L, width]; `mask` bool[B, 1, 1, L], True where it may be attended to."""
    batch, length, width = x.shape
    qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
    qkv = qkv.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
    attended = F.scaled_dot_product_attention(
      *qkv, attn_mask=mask, is_causal=self.causal
    )
    return self.out_proj(attended.transpose(1, 2).reshape(batch, length, width))


def gate() -> nn.Parameter:
  """A scalar that is used through a sigmoid."""
  return nn.Parameter(torch.tensor(FIRST_GATE))


class SharedAdapter(nn.Module):
  """`S(a) = a + W2(gamma MHA(y) + (1 - gamma) y)`, `y = W1 a`."""

  def __init__(self):
    super().__init__()
    self.gate1 = gate()
    self.l1 = nn.Linear(BOTTLENECK, SHARED_BOTTLENECK)
    self.multihead_attention1 = Attention(SHARED_BOTTLENECK, ADAPTER_HEADS)
    self.l2 = nn.Linear(SHARED_BOTTLENECK, BOTTLENECK)

  def forward(self, a, mask):
    y = self.l1(a)
    return a + self.l2(torch.lerp(y, self.multihead_attention1(y, mask), _open(self)))


class Adapter(nn.Module):
  """`A(h) - h = W_up(beta z + (1 - beta) a)`; the same attention runs twice."""

  def __init__(self, width: int, *, shared: bool):
    super().__init__()
    self.gate1 = gate()
    self.img_proj_down = nn.Linear(width, BOTTLENECK)
    self.multihead_attention = Attention(BOTTLENECK, ADAPTER_HEADS)
    self.BiShareAdapterxx = SharedAdapter() if shared else None
    self.img_proj_up = nn.Linear(BOTTLENECK, width)

  def forward(self, h, mask):
    z = F.gelu(self.img_proj_down(h))
    a = self.multihead_attention(z, mask)
    if self.BiShareAdapterxx is not None:
      a = self.BiShareAdapterxx(a, mask)
    a = self.multihead_attention(a, mask)
    return self.img_proj_up(torch.lerp(a, z, _open(self).to(a.dtype)))


def _open(module: nn.Module) -> torch.Tensor:
  return torch.sigmoid(module.gate1)


class Block(nn.Module):
  """A pre-LN block of CLIP with the adapter behind its MLP."""

  def __init__(self, size: TowerSize, *, causal: bool):
    super().__init__()
    width = size.width
    self.ln_1 = nn.LayerNorm(width)
    self.attn = Attention(width, size.heads, causal=causal)
    self.ln_2 = nn.LayerNorm(width)
    layers = {
      'c_fc': nn.Linear(width, 4 * width),
      'gelu': nn.GELU(),
      'c_proj': nn.Linear(4 * width, width),
    }
    self.mlp = nn.Sequential(collections.OrderedDict(layers))
    self.mmadapter = Adapter(width, shared=causal)  # as released: in the text tower
    self.gate1 = gate()

  def forward(self, x, mask):
    x = x + self.attn(self.ln_1(x))
    m = self.mlp(self.ln_2(x))
    return x + m + _open(self) * self.mmadapter(m, mask)


class Transformer(nn.Module):
  """Blocks, one after the other."""

  def __init__(self, size: TowerSize, *, causal: bool):
    super().__init__()
    blocks = (Block(size, causal=causal) for _ in range(size.layers))
    self.resblocks = nn.ModuleList(blocks)

  def forward(self, x, mask=None):
    for block in self.resblocks:
      x = block(x, mask)
    return x


def _normal(*shape: int) -> nn.Parameter:
  return nn.Parameter(torch.randn(*shape) * 0.02)


class ImageTower(nn.Module):
  """A vision transformer."""

  def __init__(self, size: Size):
    super().__init__()
    width, patch = size.image.width, size.patch_size
    positions = (size.image_size // patch) ** 2 + 1
    self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
    self.class_embedding = _normal(width)
    self.positional_embedding = _normal(positions, width)
    self.ln_pre = nn.LayerNorm(width)
    self.transformer = Transformer(size.image, causal=False)
    self.ln_post = nn.LayerNorm(width)
    self.proj = _normal(width, size.embedding)

  def forward(self, images):
    x = self.conv1(images).flatten(2).transpose(1, 2)
    first = self.class_embedding.to(x.dtype).expand(len(x), 1, -1)
    x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding)
    return self.ln_post(self.transformer(x)[:, 0]) @ self.proj


class Clip(nn.Module):
  """Both towers, by OpenCLIP's names."""

  def __init__(self, size: Size):
    super().__init__()
    width = size.text.width
    self.visual = ImageTower(size)
    self.transformer = Transformer(size.text, causal=True)
    self.token_embedding = nn.Embedding(size.vocabulary, width)
    self.positional_embedding = _normal(size.context_length, width)
    self.ln_final = nn.LayerNorm(width)
    self.text_projection = _normal(width, size.embedding)
    self.logit_scale = nn.Parameter(-torch.tensor(FIRST_TEMPERATURE).log())

  def encode_text(self, tokens, *, mask_padding: bool):
    """[B, D] of tokens [B, L]; the end token has the highest id."""
    end = tokens.argmax(dim=1)
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    mask = (positions <= end[:, None])[:, None, None] if mask_padding else None
    x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
    x = self.transformer(x, mask)
    return self.ln_final(x[torch.arange(len(x)), end]) @ self.text_projection


class Harma(nn.Module):
  """The loss of a batch; `state_dict` has the names of the original HarMA.

  Adapters are gated, in every block of both towers, shared ones in the text tower.
  `mask_padding` keeps adapters from attending to what follows a caption's end.
  """

  def __init__(self, size: Size, *, mask_padding: bool = True):
    super().__init__()
    self.model = Clip(size)
    self.temp = nn.Parameter(torch.tensor(FIRST_TEMPERATURE))
    self.mask_padding = mask_padding

  def forward(self, images, tokens, image_ids):
    """f32[] of u8[B, side, side, 3], i64[B, L] and i64[B]."""
    u = self.model.visual(normalize(images))
    v = self.model.encode_text(tokens, mask_padding=self.mask_padding)
    u, v = (F.normalize(features.float(), dim=1) for features in (u, v))
    with torch.autocast(images.device.type, enabled=False):
      return contrastive(u, v, image_ids, self.temp) + triplet(u, v, image_ids)


def normalize(images: torch.Tensor) -> torch.Tensor:
  """u8[B, H, W, 3] to f32[B, 3, H, W]."""
  mean, std = (images.new_tensor(c, dtype=torch.float32) for c in (CLIP_MEAN, CLIP_STD))
  return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def contrastive(u, v, image_ids, temperature) -> torch.Tensor:
  """InfoNCE in both directions whose positives are all captions of an image."""
  logits = u @ v.T / temperature
  same = (image_ids[:, None] == image_ids).float()
  targets = same / same.sum(dim=1, keepdim=True)
  both = F.log_softmax(logits, dim=1) + F.log_softmax(logits.T, dim=1)
  return -0.5 * (targets * both).sum(dim=1).mean()


def triplet(u, v, image_ids) -> torch.Tensor:
  """The adaptive triplet loss, a mean over negatives, scaled to the released batch."""
  similarity = u @ v.T
  positive = similarity.diagonal()[:, None]
  negative = image_ids[:, None] != image_ids
  counts = negative.sum(dim=1).clamp(min=1)
  sums = 0.0
  for half in (similarity, similarity.T):
    hinge = F.relu(MARGIN + half - positive) * negative
    sums = sums + ((1 - torch.exp(-hinge)) ** GAMMA * hinge).sum(dim=1)
  return (0.5 * sums / counts).mean() * RELEASED_BATCH * (RELEASED_BATCH - 1)


def freeze(harma: Harma) -> dict[str, nn.Parameter]:
  """Leaves only adapters, their gates and the temperature to train; returns those."""
  for name, parameter in harma.named_parameters():
    trains = 'mmadapter' in name or name.endswith('.gate1') or name == 'temp'
    parameter.requires_grad_(trains)
  return {name: p for name, p in harma.named_parameters() if p.requires_grad}


def make_optimizer(trainable: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
  """AdamW with the settings of the released code; biases are not decayed."""
  groups = [
    {
      'params': [p for name, p in trainable.items() if name.endswith('bias') == bias],
      'weight_decay': 0.0 if bias else 0.04,
    }
    for bias in (False, True)
  ]
  fused = next(iter(trainable.values())).is_cuda
  return torch.optim.AdamW(groups, lr=4e-4, betas=(0.9, 0.98), eps=1e-8, fused=fused)


def make_step(harma: Harma, *, variant: str, device: str) -> Callable:
  """Builds `step(batch) -> (loss, gradient norm)`, which updates `harma`."""
  trainable = freeze(harma)
  optimizer = make_optimizer(trainable)
  compiled = variant == 'compiled'
  loss_of = torch.compile(harma) if compiled else harma

  def step(batch):
    with torch.autocast(device, torch.bfloat16, enabled=compiled):
      loss = loss_of(**batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.get_total_norm(p.grad for p in trainable.values())
    optimizer.step()
    with torch.no_grad():
      harma.temp.clamp_(*TEMPERATURE_RANGE)
    return loss.detach(), norm

  return step


def random_batch(size: Size, *, batch: int, tokens: int, device: str) -> dict:
  """Random pixels, and captions whose end tokens stand anywhere."""
  rng = np.random.default_rng(0)
  ids = rng.integers(1, size.vocabulary - 2, (batch, tokens))
  for row, end in zip(ids, rng.integers(1, tokens, batch), strict=True):
    row[end], row[end + 1 :] = size.vocabulary - 1, 0
  side = size.image_size
  arrays = {
    'images': rng.integers(0, 256, (batch, side, side, 3), np.uint8),
    'tokens': ids,
    'image_ids': np.arange(batch),
  }
  return {name: torch.from_numpy(rows).to(device) for name, rows in arrays.items()}


def time_steps(step: Callable, batch: dict, *, warmup: int, steps: int, device: str):
  """Seconds of the first step, and of each of `steps` after `warmup` more.

  The host waits for a step before it starts the next but one, so that the queue of an
  accelerator never runs empty.
  """
  start = time.perf_counter()
  _wait(_queued(step, batch, device=device))
  first, ends, pending = time.perf_counter() - start, [], None
  for _ in range(warmup + steps + 1):
    queued = _queued(step, batch, device=device)
    if pending is not None:
      _wait(pending)
      ends.append(time.perf_counter())
    pending = queued
  _wait(pending)
  return first, np.diff(ends)[-steps:]


def _queued(step: Callable, batch: dict, *, device: str):
  loss, _ = step(batch)
  if device == 'cpu':
    return loss
  event = torch.cuda.Event()
  event.record()
  return event


def _wait(pending) -> None:
  if isinstance(pending, torch.cuda.Event):
    pending.synchronize()


def measure(arguments: argparse.Namespace) -> dict:
  """Speed and memory of one variant, as `harma_jax.bench` reports them."""
  device, size = arguments.device, named_size(arguments.size)
  torch.manual_seed(0)
  harma = Harma(size, mask_padding=arguments.adapter_padding == 'padding').to(device)
  step = make_step(harma, variant=arguments.variant, device=device)
  batch = random_batch(
    size, batch=arguments.batch, tokens=arguments.tokens, device=device
  )
  first, seconds = time_steps(
    step, batch, warmup=arguments.warmup, steps=arguments.steps, device=device
  )
  rates = arguments.batch / seconds
  return {
    'framework': f'torch {torch.__version__}',
    'variant': arguments.variant,
    'device': torch.cuda.get_device_name() if device == 'cuda' else 'cpu',
    'size': arguments.size,
    'batch': arguments.batch,
    'tokens': arguments.tokens,
    'dtype': 'bfloat16' if arguments.variant == 'compiled' else 'float32',
    'first_step_seconds': first,
    'pairs_per_second': {
      name: float(np.percentile(rates, q)) for name, q in PERCENTILES.items()
    },
    'peak_memory_bytes': (
      torch.cuda.max_memory_allocated() if device == 'cuda' else None
    ),
  }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--size', default='ViT-B-32')
  parser.add_argument('--batch', type=int, default=32)
  parser.add_argument('--tokens', type=int, default=77)
  parser.add_argument('--variant', choices=VARIANTS, default='eager')
  parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
  parser.add_argument(
    '--adapter_padding', choices=('none', 'padding'), default='padding'
  )
  parser.add_argument('--warmup', type=int, default=2)
  parser.add_argument('--steps', type=int, default=10)
  return parser.parse_args(arguments)


if __name__ == '__main__':
  print(json.dumps(measure(parse())))
