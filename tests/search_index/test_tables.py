"""The table of what was found."""

from harma_jax.search_index.query import Hit
from harma_jax.search_index.tables import print_hits


def test_hits_are_numbered_and_names_are_printed_as_they_are(capsys, monkeypatch):
  monkeypatch.setenv('COLUMNS', '100')
  hits = [
    Hit(image='[b]/port.png', similarity=0.25, box=(0, 10, 20, 30), corners=None),
    Hit(image='river.png', similarity=-0.5, box=(0, 0, 32, 32), corners=None),
  ]
  print_hits(hits)
  lines = capsys.readouterr().out.splitlines()
  rows = [line.strip('│').split('│') for line in lines if '.png' in line]
  assert [[cell.strip() for cell in row] for row in rows] == [
    ['1', '0.250', '[b]/port.png', '0, 10, 20, 30'],
    ['2', '-0.500', 'river.png', '0, 0, 32, 32'],
  ]
