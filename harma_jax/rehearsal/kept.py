"""What a program holds of its forward pass until the backward pass has used it."""

import collections
from collections.abc import Iterator

from harma_jax.rehearsal.hlo import Computation, Instruction, Program
from harma_jax.rehearsal.shapes import arrays_of

BACKWARD, AGAIN = 'transpose(', 'rematted_computation'
# The result is the same bytes under another name.
VIEWS = ('bitcast', 'copy-done', 'optimization-barrier', 'tuple')
# The result is the same numbers elsewhere.
COPIES = ('bitcast', 'copy', 'copy-done', 'copy-start', 'get-tuple-element')


def kept_bytes(program: Program) -> int:
  """The most that lies in memory at once of what the towers leave for later.

  It is read off the order in which the compiler runs the program: arrays, as they lie
  in memory, that an instruction of a tower's forward pass makes and one of a backward
  pass takes; in a loop, beside those that wait outside it. An estimate: the compiler
  may put two arrays into one place, or need more to pack them.
  """
  return _most_at_once(program, program.entry)


def _most_at_once(program: Program, name: str) -> int:
  lines = program.computations.get(name, ())
  starts, ends = collections.Counter(), collections.Counter()
  for size, first, last in _spans(lines):
    starts[first] += size
    ends[last] += size
  most = now = 0
  for position, line in enumerate(lines):
    now += starts[position]
    body = line.computation('body') if line.opcode == 'while' else None
    most = max(most, now + (_most_at_once(program, body) if body else 0))
    now -= ends[position]
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
      if _is_backward(line):
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
  return 'Tower' in line.op_name and not _is_backward(line)


def _is_backward(line: Instruction) -> bool:
  return BACKWARD in line.op_name and AGAIN not in line.op_name


def _bytes(line: Instruction) -> int:
  """In the main memory."""
  arrays = arrays_of(line.shape)
  if (
    line.opcode == 'copy-start'
  ):  # the copy, what is copied, and a sign when it is done
    arrays = arrays[:1]
  return sum(array.padded_bytes for array in arrays if not array.space)
