"""The text of a compiled program as computations, and how often each of them runs."""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping

HEAD = re.compile(r'(ENTRY )?%?([\w.\-<>]+) \(.*\{$')
LINE = re.compile(r'\s+(?:ROOT )?%?([\w.\-]+) = (.*)')
OPCODE = re.compile(r'(?:^|[)\]} ]) ?([a-z][\w\-]*)\(')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instruction:
  """A line of a computation.

  Attributes:
    name: of its result.
    shape: the text of the result's shape.
    opcode: as `fusion`.
    arguments: the text of what it takes.
    attributes: the text after that.
  """

  name: str
  shape: str
  opcode: str
  arguments: str
  attributes: str

  @functools.cached_property
  def operands(self) -> tuple[str, ...]:
    """The names of what it takes."""
    return tuple(re.findall(r'%([\w.\-]+)', self.arguments))

  @functools.cached_property
  def op_name(self) -> str:
    """Where in the program as it was written it comes from; '' where nobody says."""
    return self.attribute(r'op_name="([^"]*)"') or ''

  def attribute(self, pattern: str) -> str | None:
    """The first group of a pattern in the attributes; None where it is not there."""
    match = re.search(pattern, self.attributes)
    return match[1] if match else None

  def computation(self, role: str) -> str | None:
    """The name of the computation that it runs as its `body`, `calls`, ..."""
    return self.attribute(rf'\b{role}=%?([\w.\-<>]+)')


Computation = tuple[Instruction, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
  """A compiled program.

  Attributes:
    computations: by name.
    entry: the name of the one that is run.
  """

  computations: Mapping[str, Computation]
  entry: str


def read_program(text: str) -> Program:
  """A program of the text of `compiled.as_text()`."""
  found, entry, name = {}, '', None
  for line in text.splitlines():
    if not line.startswith((' ', '}')) and (head := HEAD.match(line)):
      name = head[2]
      found[name] = []
      entry = name if head[1] else entry
    elif line.startswith('}'):
      name = None
    elif name and (instruction := _instruction(line)):
      found[name].append(instruction)
  return Program(
    computations={name: tuple(lines) for name, lines in found.items()}, entry=entry
  )


def _instruction(line: str) -> Instruction | None:
  match = LINE.match(line)
  opcode = OPCODE.search(match[2]) if match else None
  if not opcode:
    return None
  arguments, attributes = _split(match[2][opcode.end() :])
  return Instruction(
    name=match[1],
    shape=match[2][: opcode.start(1)].strip(),
    opcode=opcode[1],
    arguments=arguments,
    attributes=attributes,
  )


def _split(text: str) -> tuple[str, str]:
  """What stands before the bracket that closes, and what stands after it."""
  depth = 1
  for i, character in enumerate(text):
    depth += (character == '(') - (character == ')')
    if not depth:
      return text[:i], text[i + 1 :]
  return text, ''


def runs(program: Program) -> Iterator[tuple[Instruction, int]]:
  """Every instruction that is run by itself, and how often it is.

  What is fused into an instruction is not among them. Of the branches of a conditional
  the first one counts.
  """
  yield from _runs(program, program.entry, times=1)


def _runs(
  program: Program, name: str, *, times: int
) -> Iterator[tuple[Instruction, int]]:
  for instruction in program.computations.get(name, ()):
    yield instruction, times
    if instruction.opcode == 'while':
      body, condition = map(instruction.computation, ('body', 'condition'))
      inner = times * trips(program, condition)
      yield from _runs(program, body, times=inner)
    elif instruction.opcode in ('call', 'conditional'):
      called = instruction.attribute(
        r'(?:to_apply|calls|branch_computations|true_computation)=\{?%?([\w.\-<>]+)'
      )
      yield from _runs(program, called or '', times=times)


def trips(program: Program, condition: str) -> int:
  """How often a loop with this condition runs: the number that it counts to.

  1 where it is not read: a bound that is data, as of `train.steps_per_dispatch`, or
  unsigned, as the compiler's own loops over parts of a gather have it.
  """
  bounds = [1]
  for instruction in program.computations.get(condition, ()):
    if instruction.opcode == 'constant' and instruction.shape.startswith('s32[]'):
      bounds.append(int(instruction.arguments))
    if called := instruction.computation('calls'):
      bounds.append(trips(program, called))
  return max(bounds)


def fused(program: Program, instruction: Instruction) -> Computation:
  """What an instruction is fused of; nothing for one that stands alone."""
  called = instruction.computation('calls')
  return program.computations.get(called or '', ())
