"""Kinds of accelerators by the names that users type, and what is known of each.

Memory of TPUs is what their compiler lets a program use, less than the chip has; of
GPUs it is what CUDA reports, of which jax takes the share that it takes by default.
Peaks are the vendors', of dense products in bfloat16 with f32 sums, without sparsity.
"""

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence

import jax

from harma_jax.devices.cards import Card, config_text
from harma_jax.errors import UserError, did_you_mean

GIB = 2**30
PLATFORMS = ('cpu', 'cuda', 'tpu')
JAX_SHARE = 0.75  # of a GPU's memory, unless the environment says otherwise
SHARE_VARIABLES = ('XLA_CLIENT_MEM_FRACTION', 'XLA_PYTHON_CLIENT_MEM_FRACTION')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
  """A kind of device; None where something is not known.

  Attributes:
    kind: the name that users type, as `v5e`; of a device in none of the tables, what it
      calls itself.
    platform: `cpu`, `cuda` or `tpu`.
    memory: bytes that a program may use.
    peak: FLOP/s of dense products in bfloat16.
    bandwidth: bytes/s between memory and the device.
    clock: GHz of the cycles that the TPU's compiler estimates.
  """

  kind: str
  platform: str
  memory: int | None = None
  peak: float | None = None
  bandwidth: float | None = None
  clock: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topology:
  """Devices of a kind, and how they hang together.

  Attributes:
    text: as the user typed it.
    target: of each device.
    count: of all devices.
    wants: keywords of `jax.experimental.topologies.get_topology_desc`; None where only
      the program for so many CPUs is asked for.
  """

  text: str
  target: Target
  count: int
  wants: Mapping | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TpuKind:
  """What the compiler wants to hear of a kind of TPU.

  Attributes:
    names: what a device of the kind calls itself.
    axes: of a topology, 2 or 3.
    cores: devices of a chip.
    options: further keywords of its topology.
    target: of each device, which is half a chip where a chip has two.
  """

  names: tuple[str, ...]
  axes: int
  target: Target
  cores: int = 1
  options: Mapping = dataclasses.field(default_factory=dict)


def _tpu(
  kind: str, *, gib: float, teraflops: float, gigabytes: float, clock: float
) -> Target:
  return Target(
    kind=kind,
    platform='tpu',
    memory=int(gib * GIB),
    peak=teraflops * 1e12,
    bandwidth=gigabytes * 1e9,
    clock=clock,
  )


# Memory: the least that libtpu 0.0.42 and 0.0.50 name when they refuse a program. Peaks
# and bandwidths: cloud.google.com/tpu/docs, v4 to tpu7x. Clock: the peak over the FLOP
# of all arrays in a cycle (v4, v5p: 8 of 128 x 128; v5e: 4; v6e and a core of tpu7x: 4
# of 256 x 256).
TPUS = {
  'v4': TpuKind(
    names=('TPU v4',),
    axes=3,
    options={'chip_config_name': 'megacore'},  # a chip's two cores as one device
    target=_tpu('v4', gib=30.75, teraflops=275, gigabytes=1228, clock=1.05),
  ),
  'v5e': TpuKind(
    names=('TPU v5 lite', 'TPU v5e'),
    axes=2,
    target=_tpu('v5e', gib=15.75, teraflops=197, gigabytes=819, clock=1.5),
  ),
  'v5p': TpuKind(
    names=('TPU v5', 'TPU v5p'),
    axes=3,
    target=_tpu('v5p', gib=95.73, teraflops=459, gigabytes=2765, clock=1.75),
  ),
  'v6e': TpuKind(
    names=('TPU v6 lite', 'TPU v6e'),
    axes=2,
    target=_tpu('v6e', gib=31.24, teraflops=918, gigabytes=1638, clock=1.75),
  ),
  'tpu7x': TpuKind(
    names=('TPU7x', 'TPU v7x'),
    axes=3,
    cores=2,
    target=_tpu('tpu7x', gib=94.74, teraflops=1153.5, gigabytes=3690, clock=2.2),
  ),
}
_AMPERE = {'capability': (8, 6), 'shared_kib': 100, 'threads': 1536}
_ADA = {'capability': (8, 9), 'shared_kib': 100, 'threads': 1536}
# Memory in GiB: what CUDA reports as the total. The rest: NVIDIA's data sheets and
# white papers of Ampere, Ada, Hopper and Blackwell; SXM where there are several.
CARDS = {
  'a100-40': Card(
    name='NVIDIA A100-SXM4-40GB',
    pattern=r'A100.*40GB',
    gib=39.4,
    teraflops=312,
    gigabytes=1555,
    multiprocessors=108,
    clock=1.41,
    l2_mib=40,
    capability=(8, 0),
    shared_kib=164,
  ),
  'a100-80': Card(
    name='NVIDIA A100-SXM4-80GB',
    pattern=r'A100.*80GB',
    gib=79.1,
    teraflops=312,
    gigabytes=2039,
    multiprocessors=108,
    clock=1.41,
    l2_mib=40,
    capability=(8, 0),
    shared_kib=164,
  ),
  'h100': Card(
    name='NVIDIA H100 80GB HBM3',
    pattern=r'H100.*80GB HBM3',
    gib=79.1,
    teraflops=989.4,
    gigabytes=3350,
    multiprocessors=132,
    clock=1.98,
    l2_mib=50,
    capability=(9, 0),
  ),
  'h200': Card(
    name='NVIDIA H200',
    pattern=r'H200',
    gib=139.8,
    teraflops=989.4,
    gigabytes=4800,
    multiprocessors=132,
    clock=1.98,
    l2_mib=50,
    capability=(9, 0),
  ),
  'b200': Card(
    name='NVIDIA B200',
    pattern=r'\bB200',
    gib=178.3,
    teraflops=2250,
    gigabytes=7700,
    multiprocessors=148,
    clock=1.965,
    l2_mib=126,
    capability=(10, 0),
  ),
  'l4-24': Card(
    name='NVIDIA L4',
    pattern=r'L4$',
    gib=22.0,
    teraflops=121,
    gigabytes=300,
    multiprocessors=58,
    clock=2.04,
    l2_mib=48,
    **_ADA,
  ),
  'l40s-48': Card(
    name='NVIDIA L40S',
    pattern=r'L40S',
    gib=44.4,
    teraflops=362.05,
    gigabytes=864,
    multiprocessors=142,
    clock=2.52,
    l2_mib=96,
    **_ADA,
  ),
  'a10-24': Card(
    name='NVIDIA A10',
    pattern=r'A10$',
    gib=22.0,
    teraflops=125,
    gigabytes=600,
    multiprocessors=72,
    clock=1.695,
    l2_mib=6,
    **_AMPERE,
  ),
  'rtx3090-24': Card(
    name='NVIDIA GeForce RTX 3090',
    pattern=r'RTX 3090$',
    gib=23.5,
    teraflops=71,
    gigabytes=936,
    multiprocessors=82,
    clock=1.695,
    l2_mib=6,
    **_AMPERE,
  ),
  'rtx4090-24': Card(
    name='NVIDIA GeForce RTX 4090',
    pattern=r'RTX 4090$',
    gib=23.5,
    teraflops=165.2,
    gigabytes=1008,
    multiprocessors=128,
    clock=2.52,
    l2_mib=72,
    **_ADA,
  ),
}
KINDS = (*TPUS, *CARDS)


def named_target(kind: str) -> Target:
  """The target of a kind, one of `KINDS`."""
  if kind in TPUS:
    return TPUS[kind].target
  card = CARDS[kind]
  return Target(
    kind=kind,
    platform='cuda',
    memory=int(card.gib * GIB * jax_share()),
    peak=card.teraflops * 1e12,
    bandwidth=card.gigabytes * 1e9,
  )


def jax_share() -> float:
  """The share of a GPU's memory that jax takes, as the environment says."""
  given = (os.environ.get(name) for name in SHARE_VARIABLES)
  return float(next(filter(None, given), JAX_SHARE))


def this_target(devices: Sequence[jax.Device] | None = None) -> Target:
  """The target of the first of `devices`, default all that jax shows.

  A device that is there tells its memory itself. Of a kind in none of the tables only
  that is known; of a CPU nothing.
  """
  device = (jax.devices() if devices is None else devices)[0]
  platform = 'cuda' if device.platform == 'gpu' else device.platform
  if platform == 'cpu':
    return Target(kind='cpu', platform='cpu')
  kind = _kind_of(device.device_kind)
  known = Target(kind=device.device_kind, platform=platform)
  known = named_target(kind) if kind else known
  return dataclasses.replace(known, memory=_memory_limit(device) or known.memory)


def _kind_of(name: str) -> str | None:
  """The kind of a device that calls itself `name`; None for one of no table."""
  for kind, tpu in TPUS.items():
    if name in tpu.names:
      return kind
  for kind, card in CARDS.items():
    if re.search(card.pattern, name):
      return kind
  return None


def _memory_limit(device: jax.Device) -> int | None:
  try:
    return (device.memory_stats() or {}).get('bytes_limit')
  except jax.errors.JaxRuntimeError:  # a device that is only compiled for
    return None


def read_topology(text: str, *, flag: str = '--dry_run_topology') -> Topology:
  """What the user means by `N`, `PLATFORM:N`, `KIND:SHAPE` or `KIND:SHAPE*SLICES`.

  The shape is that of the chips of a TPU slice, as in `v5e:2x4` or `v5p:4x4x4`, or the
  GPUs of a host, `h100:8`, or hosts x GPUs, `h100:2x8`.

  Raises:
    UserError: it says something else.
  """
  match = re.fullmatch(r'(?:([^:]+):)?([1-9]\d*(?:x[1-9]\d*)*)(?:\*([1-9]\d*))?', text)
  if not match:
    raise _no_topology(text, flag=flag)
  kind, shape = match[1] or 'cpu', [int(n) for n in match[2].split('x')]
  slices = int(match[3] or 1)
  if kind in TPUS:
    return _tpu_topology(text, TPUS[kind], shape=shape, slices=slices, flag=flag)
  if kind in CARDS and len(shape) < 3 and slices == 1:
    return _gpu_topology(text, kind, shape=shape)
  if kind in PLATFORMS and len(shape) == 1 and slices == 1:
    target = Target(kind=kind, platform=kind)
    return Topology(text=text, target=target, count=shape[0], wants=None)
  raise _no_topology(text, flag=flag)


def _tpu_topology(
  text: str, kind: TpuKind, *, shape: list[int], slices: int, flag: str
) -> Topology:
  name = kind.target.kind
  if len(shape) != kind.axes:
    example = 'x'.join('2244'[-kind.axes :])
    raise UserError(
      f'{flag}: expected the {kind.axes} axes of a {name} topology, as in '
      f'{name}:{example}; found {text!r}.'
    )
  wants = {
    'platform': 'tpu',
    'topology_name': f'{name}:{"x".join(map(str, shape))}',
    **kind.options,
  }
  if slices > 1:
    wants['num_slices'] = slices
  if math.prod(shape) == 1:  # libtpu expects four chips a host
    wants['chips_per_host_bounds'] = (1, 1, 1)
  count = math.prod(shape) * slices * kind.cores
  return Topology(text=text, target=kind.target, count=count, wants=wants)


def _gpu_topology(text: str, kind: str, *, shape: list[int]) -> Topology:
  hosts, gpus = (1, *shape)[-2:]
  wants = {
    'platform': 'cuda',
    'topology_name': '',
    'target_config': config_text(CARDS[kind]),
    'topology': f'1x{hosts}x{gpus}',
  }
  return Topology(
    text=text, target=named_target(kind), count=math.prod(shape), wants=wants
  )


def _no_topology(text: str, *, flag: str) -> UserError:
  kind = text.partition(':')[0]
  near = '' if kind in KINDS + PLATFORMS else did_you_mean(kind, KINDS + PLATFORMS)
  return UserError(
    f'{flag}: expected a number of devices, as in 32 or tpu:32, or a kind and its '
    f'shape, as in v5e:2x4, v5e:4x4*2 (two slices), v5p:4x4x4, h100:8 or h100:2x8 '
    f'(hosts x GPUs), the kind one of {", ".join(KINDS)}; found {text!r}.{near}'
  )
