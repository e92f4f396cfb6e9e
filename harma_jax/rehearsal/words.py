"""What is found of a compiled step, in words."""

from harma_jax.devices.targets import Target, Topology
from harma_jax.rehearsal.collectives import KINDS

GIB = 2**30
HELD = {
  'weights': 'weights',
  'optimizer': 'optimizer',
  'images': 'images',
  'kept_for_backward': 'kept for the backward pass (estimated)',
  'rest': 'the rest',
  'gaps': 'gaps between them',
}


def gibibytes(count: int) -> str:
  """Bytes in words, as compilers and cards count them."""
  if count < 10 * 2**20:
    return f'{count / 2**10:,.1f} KiB'
  if count < GIB:
    return f'{count / 2**20:,.1f} MiB'
  return f'{count / GIB:,.2f} GiB'


def summary(record: dict) -> str:
  """One line of a record."""
  setting = (
    f'{record["target"]}: {record["size"]}, {record["pairs"]} pairs, '
    f'{record["tokens"]} tokens, remat={record["remat"]}'
  )
  if record['refused']:
    return f'{setting}: refused, {of_available(record)}'
  fits = {True: 'fits', False: 'does not fit', None: 'for CPU devices'}
  seconds = record['estimated_seconds']
  time = f', {seconds * 1e3:,.1f} ms estimated' if seconds else ''
  return f'{setting}: {fits[record["fits"]]}, {of_available(record)}{time}'


def program_in_words(record: dict, *, topology: Topology) -> dict[str, str]:
  """The lines of a table, of what `record_of` found."""
  told = record['compiler'] is not None
  found = {
    'fits': fit_in_words(record, target=topology.target) if told else None,
    'memory of a device' if told else 'memory of each CPU': memory_in_words(record),
    'FLOP a pair': _flop_in_words(record),
    'a step': _time_in_words(record, topology) if told else None,
    'its parts': _parts_in_words(record),
    'Pallas kernels': _kernels_in_words(record),
    'collectives': _collectives_in_words(record),
    'lowering': f'{record["lowering_seconds"]:.1f} s, for {topology.target.platform}',
    'compilation': f'{record["compile_seconds"]:.1f} s, {compiler_in_words(record)}',
  }
  return {name: words for name, words in found.items() if words}


def of_available(record: dict) -> str:
  """What the step needs of a device, and what that has."""
  needed, available = (
    gibibytes(record[name]) if record[name] else 'an amount that is not told'
    for name in ('needed_bytes', 'available_bytes')
  )
  if not record['available_bytes']:
    return needed
  if record['fits'] and record['needed_bytes'] > record['available_bytes']:
    return f'all of the {available} that a device has'
  return f'{needed} for a device that has {available}'


def compiler_in_words(record: dict) -> str:
  """Whose program it is."""
  return f'by {record["compiler"]}' if record['compiler'] else 'for CPU devices'


def fit_in_words(record: dict, *, target: Target) -> str:
  """Whether a device has room, with both numbers."""
  if record['fits'] is None:
    return 'not known'
  verdict = 'yes' if record['fits'] else 'no'
  refused = ', refused by the compiler' if record['refused'] else ''
  return f'{verdict}{refused}: {of_available(record)} ({target.kind})'


def memory_in_words(record: dict) -> str:
  """By kind; of a program that was refused what it is given."""
  memory = record['memory']
  total = '' if record['refused'] else f'{gibibytes(record["needed_bytes"])}: '
  kinds = [
    f'{words} {gibibytes(memory[kind])}'
    for kind, words in HELD.items()
    if memory.get(kind) is not None and (memory[kind] or kind != 'gaps')
  ]
  return total + ', '.join(kinds)


def _flop_in_words(record: dict) -> str | None:
  flop = record['flop_per_pair']
  if flop is None:
    return None
  words = f'{flop / 1e9:,.1f} GFLOP' if flop > 1e9 else f'{flop / 1e6:,.1f} MFLOP'
  return f'{words}, nothing recomputed'


def _time_in_words(record: dict, topology: Topology) -> str | None:
  flop, target = record['flop_per_pair'], topology.target
  peak = f'{target.peak / 1e12:,.0f} TFLOP/s' if target.peak else ''
  if record['estimated_seconds']:
    alone = '' if topology.count == 1 else ', exchanges between devices not counted'
    return (
      f'{record["estimated_seconds"] * 1e3:,.1f} ms by the estimate of the compiler'
      f'{alone}: {record["share_of_peak"]:.1%} of the peak of {peak}'
    )
  if record['refused'] or not (flop and target.peak):
    return None
  least = flop * record['pairs'] / (target.peak * topology.count)
  return f'no estimate of the compiler; at the peak of {peak} {least * 1e3:,.1f} ms'


def _parts_in_words(record: dict) -> str | None:
  parts = {name: 1e3 * s for name, s in (record['parts'] or {}).items() if s}
  ordered = sorted(parts.items(), key=lambda part: -part[1])
  return ', '.join(f'{name} {ms:,.1f} ms' for name, ms in ordered)


def _kernels_in_words(record: dict) -> str | None:
  kernels = record['kernels'] or []
  if not kernels:
    return None
  seconds, calls = (sum(k[key] for k in kernels) for key in ('seconds', 'runs'))
  untold = sum(kernel['flop'] is None for kernel in kernels)
  note = f'; {untold} tell no FLOP and count by their bytes alone' if untold else ''
  return (
    f'{len(kernels)}, run {calls:,} times: {seconds * 1e3:,.1f} ms of the above, the '
    f'larger of FLOP at the peak and bytes at the bandwidth{note}'
  )


def _collectives_in_words(record: dict) -> str | None:
  found = record['collectives']
  if found is None:
    return None
  kinds = (_kind_in_words(kind, found[kind]) for kind in KINDS if kind in found)
  return ', '.join(kinds) or 'none'


def _kind_in_words(kind: str, found: dict[str, int]) -> str:
  runs = f'run {found["runs"]} times, ' if found['runs'] > found['count'] else ''
  return f'{found["count"]} {kind} ({runs}{gibibytes(found["bytes"])})'
