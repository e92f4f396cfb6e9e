"""What the campaign of signals takes for right and for wrong."""

import pytest

from benchmarks.stops import is_early, problem, went_on


def row_of(code, *, command='evaluate', signal='SIGINT', seconds=0.2, has_ended=False):
  row = {'command': command, 'signal': signal, 'code': code, 'seconds': seconds}
  return row | {'has_ended': has_ended, 'early': is_early(row, said='')}


@pytest.mark.parametrize(
  'row',
  [
    row_of(130),
    row_of(143, signal='SIGTERM'),
    row_of(0, command='train', signal='SIGTERM', seconds=3.0),
    row_of(0, has_ended=True),
    row_of(0),  # while Python puts its things away
    row_of(-2),  # nothing listened yet
  ],
)
def test_ends_as_documented_are_right(row):
  assert problem(row, said='Interrupted.') == ''


@pytest.mark.parametrize(
  ('row', 'said', 'wrong'),
  [
    (row_of(0, seconds=2.0), '', 'went on to its end'),
    (row_of(0, command='train', seconds=2.0), '', 'went on to its end'),
    (row_of(143), '', 'exit code 143'),
    (row_of(-11), '', 'died of signal 11'),
    (row_of(130), 'Traceback (most', "said ['Traceback']"),
    (row_of(130, seconds=16.0), '', 'took 16.0 s'),
  ],
)
def test_other_ends_are_wrong(row, said, wrong):
  assert problem(row, said=said) == wrong


def test_who_went_on_had_not_ended():
  assert went_on(row_of(0))
  assert not went_on(row_of(0, has_ended=True))
  assert not went_on(row_of(130))
  assert not went_on(row_of(0, command='train', signal='SIGTERM'))
