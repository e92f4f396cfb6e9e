"""The measurement of a large table, on a small one."""

import json
import sys

import pytest

from benchmarks import open_table


@pytest.mark.parametrize('form', open_table.FORMS)
def test_a_table_of_each_form_is_made_and_opened(form, tmp_path):
  if form == 'parquet':
    pytest.importorskip('pyarrow', reason='writes parquet')
  open_table.write_images(tmp_path, rows=50)
  open_table.write_table(tmp_path, rows=50, form=form)
  found = open_table.open_table(str(tmp_path))
  assert (found['images'], found['captions']) == (50, 50)
  assert found['peak_gib'] >= found['libraries_gib'] > 0


def test_a_process_of_its_own_opens_it(tmp_path, monkeypatch, capsys):
  words = ['open_table', '--rows=20', f'--folder={tmp_path}']
  monkeypatch.setattr(sys, 'argv', words)
  open_table.main()
  found = json.loads(capsys.readouterr().out)
  assert (found['form'], found['rows'], found['images']) == ('csv', 20, 20)
  assert list(tmp_path.iterdir()) == []
