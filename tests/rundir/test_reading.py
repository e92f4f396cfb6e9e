"""Files that were cut or damaged: one message, or left out and said."""

import logging

import pytest

from harma_jax.errors import UserError
from harma_jax.rundir.reading import read_json, read_rows

ROWS = ['{"step": 1}', '{"step": 2, "kind": "train"}', '{"step": 3}']


@pytest.mark.parametrize(
  ('content', 'found'),
  [
    (b'{"seed": 3, "spl', 'Unterminated'),
    (b'', 'Expecting value'),
    (b'\xff\xfe\x00', 'decode'),
    (b'[1, 2]', 'list'),
  ],
)
def test_a_file_that_is_no_object_is_named(tmp_path, content, found):
  path = tmp_path / 'config.json'
  path.write_bytes(content)
  with pytest.raises(UserError, match=f'{path}; found: .*{found}'):
    read_json(path)


def test_an_object_is_read(tmp_path):
  (tmp_path / 'a.json').write_text('{"seed": 3}')
  assert read_json(tmp_path / 'a.json') == {'seed': 3}


@pytest.mark.parametrize(
  ('bad', 'left'),
  [
    ('{"step": 2, "ki', [1, 3]),
    ('\x00\x00\x00', [1, 3]),
    ('2', [1, 3]),
    ('{"kind": "train"}', [1, 3]),
    (ROWS[1], [1, 2, 3]),
  ],
)
def test_a_damaged_line_is_left_out_and_said(tmp_path, caplog, bad, left):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(''.join(f'{row}\n' for row in (ROWS[0], bad, ROWS[2])))
  with caplog.at_level(logging.WARNING, logger='absl'):
    assert [row['step'] for row in read_rows(path)] == left
  said = '1 of 3 lines cannot be read and are left out, the first is line 2'
  assert (said in caplog.text) == (left == [1, 3])


def test_half_a_last_row_is_what_a_kill_leaves_and_needs_no_word(tmp_path, caplog):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(ROWS[0] + '\n' + ROWS[1][:9])
  assert read_rows(path) == [{'step': 1}]
  assert not caplog.text
  assert read_rows(tmp_path / 'none.jsonl') == []
