"""Flags that name what is read and written."""

import pytest
from absl import flags

from harma_jax import cli
from harma_jax.errors import UserError


@pytest.fixture
def flag():
  """`flag(value)`: of the name `page`."""

  def make(value):
    values = flags.FlagValues()
    found = flags.DEFINE_string('page', value, 'A page.', flag_values=values)
    values.mark_as_parsed()
    return found

  return make


@pytest.mark.parametrize('value', [None, ''])
def test_what_is_needed_is_asked_for(flag, value):
  assert cli.given(flag('a.html'), 'FILE') == 'a.html'
  with pytest.raises(UserError, match=r'^Expected --page=FILE; found none\.'):
    cli.given(flag(value), 'FILE')


def test_a_text_is_written_in_utf_8_where_a_flag_says(flag, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert cli.write_text(flag('~/a.html'), 'Häfen') == tmp_path / 'a.html'
  assert (tmp_path / 'a.html').read_bytes() == 'Häfen'.encode()
  with pytest.raises(UserError, match=r'--page=.*gone/a\.html: .* can be written; No'):
    cli.write_text(flag(str(tmp_path / 'gone/a.html')), '')
