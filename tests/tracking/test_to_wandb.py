"""Weights & Biases offline: one id in two starts, each row once."""

import pytest

pytest.importorskip('wandb')
pb = pytest.importorskip('wandb.proto.wandb_internal_pb2')

BLOCK, FILE_HEADER, HEADER = 32768, 7, 7  # bytes, of LevelDB's log that W&B writes
WHOLE, LAST = 1, 4  # kinds of its fragments


def records_of(path):
  content, at, record = path.read_bytes(), FILE_HEADER, b''
  while at + HEADER <= len(content):
    if BLOCK - at % BLOCK < HEADER:
      at += BLOCK - at % BLOCK
    length, kind = int.from_bytes(content[at + 4 : at + 6], 'little'), content[at + 6]
    record += content[at + HEADER : at + HEADER + length]
    at += HEADER + length
    if kind in (WHOLE, LAST):
      yield pb.Record.FromString(record)
      record = b''


def rows_of(path):
  for record in records_of(path):
    if record.WhichOneof('record_type') == 'history':
      items = record.history.item
      yield {'/'.join(i.nested_key) or i.key: i.value_json for i in items}


def test_a_resumed_run_goes_on_under_its_id(stopped_and_resumed, monkeypatch, tmp_path):
  monkeypatch.setenv('WANDB_MODE', 'offline')
  stopped_and_resumed(['wandb'], pause=1.1)  # folders are called by the second
  files = sorted((tmp_path / 'runs/seed_3/wandb').glob('offline-run-*/run-*.wandb'))
  assert len(files) == 2
  assert len({file.name for file in files}) == 1  # the id
  rows = [row for file in files for row in rows_of(file)]
  losses = [
    (int(row['step']), float(row['train/loss'])) for row in rows if 'train/loss' in row
  ]
  assert losses == [(step, 10.0 - step) for step in range(1, 9)]
  [test] = [row for row in rows if 'test/mean_recall' in row]
  assert (test['step'], float(test['test/mean_recall'])) == ('6', 7.0)
  assert any('tables/test' in name for row in rows for name in row)
