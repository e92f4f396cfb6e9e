"""A bar where there is a terminal, nothing elsewhere; the items either way."""

import pytest

from harma_jax.reporting.progress import show_progress


@pytest.mark.parametrize('terminal', [True, False])
def test_items_pass_and_a_terminal_shows_how_many(capsys, monkeypatch, terminal):
  monkeypatch.setenv('FORCE_COLOR' if terminal else 'NO_COLOR', '1')
  monkeypatch.setenv('COLUMNS', '80')
  assert list(show_progress(iter('abc'), title='images', total=3)) == ['a', 'b', 'c']
  printed = capsys.readouterr()
  assert printed.out.strip() == ''
  assert ('images' in printed.err) == ('3/3' in printed.err) == terminal


def test_an_error_of_the_work_is_raised(capsys):
  def work():
    yield 1
    raise OSError('disk')

  with pytest.raises(OSError, match='disk'):
    list(show_progress(work(), title='images', total=2))
