"""NVIDIA's cards as the CUDA compiler wants them described, of a few numbers each."""

import dataclasses

GIB, MIB, KIB = 2**30, 2**20, 2**10
PER_MULTIPROCESSOR = 65536  # registers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
  """Of a data sheet.

  Attributes:
    name: what the card calls itself.
    pattern: a regular expression that finds it in such names.
    gib: memory that CUDA reports, GiB.
    teraflops: of dense products in bfloat16 with f32 sums.
    gigabytes: a second, between memory and card.
    multiprocessors: how many.
    clock: GHz, boosted.
    l2_mib: of the second-level cache.
    capability: of CUDA.
    shared_kib: memory of a multiprocessor that its threads share.
    threads: of a multiprocessor.
  """

  name: str
  pattern: str
  gib: float
  teraflops: float
  gigabytes: float
  multiprocessors: int
  clock: float
  l2_mib: int
  capability: tuple[int, int]
  shared_kib: int = 228
  threads: int = 2048


def config_text(card: Card) -> str:
  """The text of XLA's `GpuTargetConfigProto` for a card."""
  major, minor = card.capability
  capability = {'major': major, 'minor': minor}
  if major >= 9:  # wgmma and what came after it
    capability['feature_extension'] = 'ACCELERATED_FEATURES'
  device = {
    'name': f'"{card.name}"',
    'device_vendor': '"NVIDIA Corporation"',
    'cuda_compute_capability': capability,
    'core_count': card.multiprocessors,
    'fpus_per_core': 64 if card.capability == (8, 0) else 128,
    'clock_rate_ghz': card.clock,
    'memory_bandwidth': int(card.gigabytes * 1e9),
    'device_memory_size': int(card.gib * GIB),
    'l2_cache_size': card.l2_mib * MIB,
    'shared_memory_per_core': card.shared_kib * KIB,
    'shared_memory_per_block': 48 * KIB,
    'shared_memory_per_block_optin': (card.shared_kib - 1) * KIB,
    'registers_per_core_limit': PER_MULTIPROCESSOR,
    'registers_per_block_limit': PER_MULTIPROCESSOR,
    'threads_per_core_limit': card.threads,
    'threads_per_block_limit': 1024,
    'threads_per_warp': 32,
    **{f'thread_dim_limit_{axis}': most for axis, most in _pairs(1024, 1024, 64)},
    **{
      f'block_dim_limit_{axis}': most for axis, most in _pairs(2**31 - 1, *[65535] * 2)
    },
    'device_address_bits': 64,
    'driver_version': '"13.0.0"',
    'runtime_version': '"13.0.0"',
    'compile_time_toolkit_version': '"13.0.0"',
    'dnn_version': '"9.10.0"',
  }
  return _text(
    {
      'gpu_device_info': device,
      'platform_name': '"CUDA"',
      'dnn_version_info': {'major': 9, 'minor': 10, 'patch': 0},
      'device_description_str': f'"{card.name}"',
    }
  )


def _pairs(*limits: int) -> zip:
  return zip('xyz', limits, strict=True)


def _text(fields: dict) -> str:
  """A message in the text format of protocol buffers."""
  lines = (
    f'{name} {{ {_text(value)} }}' if isinstance(value, dict) else f'{name}: {value}'
    for name, value in fields.items()
  )
  return ' '.join(lines)
