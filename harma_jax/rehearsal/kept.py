"""What a program holds of its forward pass until the backward pass has used it."""

import collections
from collections.abc import Iterator

from harma_jax.rehearsal.hlo import Computation, Instruction, Program, runs
from harma_jax.rehearsal.shapes import arrays_of

BACKWARD = 'transpose('
# The result is the same bytes under another name.
VIEWS = ('bitcast', 'copy-done', 'optimization-barrier', 'tuple')
# The result is the same numbers elsewhere.
COPIES = ('bitcast', 'copy', 'copy-done', 'copy-start', 'get-tuple-element')


def kept_bytes(program: Program) -> int:
  """The most that lies in memory at once of what the towers leave for later.

  It is read off the order in which the compiler runs the program: arrays, as they lie
  in memory, that an instruction of a tower's forward pass makes and one of a backward
  pass takes. An estimate: the compiler may put two arrays into one place.
  """
  scheduled = {program.entry}
  for instruction, _ in runs(program):
    if body := instruction.computation('body'):
      scheduled.add(body)
  return max(_most_at_once(program.computations[name]) for name in scheduled)


def _most_at_once(lines: Computation) -> int:
  change = collections.Counter()
  for size, first, last in _spans(lines):
    change[first] += size
    change[last] -= size
  most = now = 0
  for position in sorted(change):
    now += change[position]
    most = max(most, now)
  return most


def _spans(lines: Computation) -> Iterator[tuple[int, int, int]]:
  """Bytes of each array that is kept, and the positions between which it is."""
  by_name = {line.name: line for line in lines}
  positions = {line.name: i for i, line in enumerate(lines)}
  held, last, in_backward = {}, {}, set()
  for i, line in enumerate(lines):
    taken = {array for name in line.operands for array in held.get(name, ())}
    held[line.name] = _holds(line, taken, by_name)
    for array in taken:
      last[array] = i
      if BACKWARD in line.op_name:
        in_backward.add(array)
  for name in in_backward:
    first = _maker(by_name[name], by_name, through=('get-tuple-element',))
    if _is_forward(_maker(first, by_name, through=COPIES)):
      yield _bytes(by_name[name]), positions[first.name], last[name]


def _holds(line: Instruction, taken: set[str], by_name: dict) -> set[str]:
  """The arrays that a result is made of: itself, what it shows of others, or both."""
  if line.opcode == 'get-tuple-element':
    maker = _maker(line, by_name, through=('get-tuple-element',))
    return taken if maker.opcode in ('parameter', 'tuple') else {line.name}
  if line.opcode in VIEWS:
    return taken
  # What is copied beside the units is held there in place of where it came from.
  return taken | {line.name} if line.opcode == 'copy-start' else {line.name}


def _maker(
  line: Instruction, by_name: dict, *, through: tuple[str, ...]
) -> Instruction:
  """What makes an array that instructions of these kinds only hand on."""
  while line.opcode in through and line.operands and line.operands[0] in by_name:
    line = by_name[line.operands[0]]
  return line


def _is_forward(line: Instruction) -> bool:
  return 'Tower' in line.op_name and BACKWARD not in line.op_name


def _bytes(line: Instruction) -> int:
  """In the main memory."""
  arrays = arrays_of(line.shape)
  if (
    line.opcode == 'copy-start'
  ):  # the copy, what is copied, and a sign when it is done
    arrays = arrays[:1]
  return sum(array.padded_bytes for array in arrays if not array.space)
