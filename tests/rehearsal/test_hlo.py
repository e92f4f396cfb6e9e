"""The text of a program is read as what is run, and how often."""

import collections

from harma_jax.rehearsal.hlo import fused, read_program, runs, trips


def test_instructions_are_read_in_their_order(program):
  assert program.entry == 'main'
  assert set(program.computations) == {'fused.1', 'body', 'condition', 'called', 'main'}
  loop = program.computations['main'][7]
  assert (loop.name, loop.opcode, loop.operands) == ('loop', 'while', ('start',))
  assert loop.shape == '(s32[]{:T(128)}, f32[3,4,8]{2,1,0:T(8,128)})'
  assert loop.op_name == 'jit(step)/jvp(ImageTower)/while'
  assert (loop.computation('body'), loop.computation('condition')) == (
    'body',
    'condition',
  )
  zero = program.computations['main'][3]
  assert (zero.opcode, zero.arguments, zero.operands) == ('constant', '0', ())
  assert zero.op_name == ''


def test_what_is_in_a_loop_runs_as_often_as_the_loop(program):
  times = collections.Counter()
  for instruction, count in runs(program):
    times[instruction.name] += count
  assert (times['loop'], times['up'], times['z'], times['new']) == (1, 3, 1, 1)
  assert 'limit' not in times  # of a condition
  assert 'all-gather.2' not in times  # fused


def test_what_an_instruction_is_fused_of_is_found(program):
  gather = next(line for line, _ in runs(program) if line.name == 'gather.0')
  assert [line.name for line in fused(program, gather)] == ['param_0', 'all-gather.2']
  assert fused(program, program.computations['main'][0]) == ()


def test_a_loop_whose_bound_is_data_counts_once():
  program = read_program(
    '%condition (a: (s32[], s32[])) -> pred[] {\n'
    '  %a = (s32[], s32[]) parameter(0)\n'
    '  %i = s32[] get-tuple-element(%a), index=0\n'
    '  %n = s32[] get-tuple-element(%a), index=1\n'
    '  ROOT %lt = pred[] compare(%i, %n), direction=LT\n'
    '}\n'
  )
  assert trips(program, 'condition') == 1


def test_a_bound_may_stand_in_what_a_condition_calls():
  program = read_program(
    '%inner (a: s32[]) -> pred[] {\n'
    '  %a = s32[] parameter(0)\n'
    '  %n = s32[] constant(12)\n'
    '  ROOT %lt = pred[] compare(%a, %n), direction=LT\n'
    '}\n'
    '%condition (b: s32[]) -> pred[] {\n'
    '  %b = s32[] parameter(0)\n'
    '  ROOT %f = pred[] fusion(%b), kind=kLoop, calls=%inner\n'
    '}\n'
  )
  assert trips(program, 'condition') == 12
