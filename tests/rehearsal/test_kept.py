"""What is held of the forward pass is read off the order of the program."""

from harma_jax.rehearsal.hlo import read_program
from harma_jax.rehearsal.kept import kept_bytes


def test_arrays_of_the_towers_that_a_backward_pass_takes_are_kept(program):
  stacked = 3 * 8 * 128 * 4
  copied = 8 * 128 * 4  # out of the memory beside the units, where it does not count
  assert kept_bytes(program) == stacked + copied


def forward(name, rows):
  return (
    f'  %{name} = f32[{rows}]{{0}} fusion(%p), calls=%f, '
    f'metadata={{op_name="jit(s)/jvp(TextTower)/{name}"}}\n'
  )


def backward(name, operand):
  return (
    f'  %{name} = f32[2]{{0}} fusion(%{operand}), calls=%f, '
    f'metadata={{op_name="jit(s)/transpose(jvp(TextTower))/{name}"}}\n'
  )


def test_only_what_lies_there_at_once_counts_together():
  head = 'ENTRY %main (p: f32[2]) -> f32[2] {\n  %p = f32[2]{0} parameter(0)\n'
  apart = forward('a', 100), backward('c', 'a'), forward('b', 50), backward('d', 'b')
  together = forward('a', 100), forward('b', 50), backward('c', 'a'), backward('d', 'b')
  bytes_of = [
    kept_bytes(read_program(head + ''.join(lines) + '}\n'))
    for lines in (apart, together)
  ]
  assert bytes_of == [400, 600]


def test_what_only_the_forward_pass_takes_is_not_kept():
  head = 'ENTRY %main (p: f32[2]) -> f32[2] {\n  %p = f32[2]{0} parameter(0)\n'
  used = forward('b', 9).replace('%p', '%a')
  program = read_program(head + forward('a', 100) + used + '}\n')
  assert kept_bytes(program) == 0
