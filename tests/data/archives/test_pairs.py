"""Folders of pictures beside their texts."""

from harma_jax.data.archives.pairs import has_pairs, read_pair_folder


def test_a_folder_is_read_in_the_order_of_names(archives, tmp_path):
  for name, content in archives['img2dataset']((2, 0, 1)):
    (tmp_path / name).write_bytes(content)
  (tmp_path / 'README.md').write_text('about')
  (tmp_path / '00000_stats.json').write_text('{"count": 3}')
  good, bad = [], []
  for sample in read_pair_folder(tmp_path, asked=''):
    (bad if sample.entry.problem else good).append(sample.entry)
  assert [each.captions for each in good] == [
    [f'fields and houses {number}'] for number in range(3)
  ]
  assert good[0].place == f'{tmp_path}/000000000.jpg'
  assert [each.place for each in bad] == [f'{tmp_path}/00000_stats.json']


def test_pairs_are_told_by_names():
  assert has_pairs(['a.jpg', 'a.txt'])
  assert has_pairs(['x/a.tif', 'x/a.json'])
  assert not has_pairs(['a.jpg', 'b.txt', 'captions.json'])
  assert not has_pairs([])
