"""The check of a source: every kind of finding, on data with it and without."""

import json

import numpy as np
import pytest
from PIL import Image

from harma_jax.data.audit import (
  ERROR,
  OWN_STRETCH,
  WARNING,
  Row,
  audit,
  caption_findings,
  difference_hash,
  image_findings,
  inspect_image,
  read_rows,
)
from harma_jax.data.audit import ImageFacts as Facts
from harma_jax.data.cleaning import CLEANINGS
from harma_jax.data.reading import Reading
from harma_jax.errors import UserError
from harma_jax.raster.how import How


def slow_difference_hash(image):
  grey = image.convert('L').resize((9, 8), Image.Resampling.LANCZOS)
  bits = ''
  for y in range(8):
    for x in range(8):
      left, right = grey.getpixel((x, y)), grey.getpixel((x + 1, y))
      bits += '1' if right > left else '0'
  return int(bits, 2)


def noise(seed, *, side=40):
  """Smooth noise: what scaling and compression leave as it is."""
  pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3)).astype(np.uint8)
  return Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)


def found(findings):
  return {kind.what: kind.examples for kind in findings if kind.examples}


def row(split, image, *captions):
  return Row(split, f'{split}, {image}', image, captions)


@pytest.mark.parametrize('seed', range(5))
def test_the_hash_equals_a_slow_one(seed):
  pixels = np.random.default_rng(seed).integers(0, 256, (23, 31, 3)).astype(np.uint8)
  image = Image.fromarray(pixels)
  assert difference_hash(image) == slow_difference_hash(image) > 0


def test_the_hash_survives_compression_and_tells_images_apart(tmp_path):
  hashes = set()
  for seed in range(20):
    noise(seed).save(tmp_path / 'a.png')
    noise(seed).save(tmp_path / 'a.jpg', quality=98, subsampling=0)
    facts = [inspect_image(name, folder=tmp_path) for name in ('a.png', 'a.jpg')]
    assert facts[0].sha256 != facts[1].sha256
    # A bit may fall otherwise where two neighbours are all but equal.
    differing = facts[0].difference_hash ^ facts[1].difference_hash
    assert differing.bit_count() <= 2
    hashes.add(facts[0].difference_hash)
  assert len(hashes) == 20


def test_an_image_without_structure_gets_zero():
  assert difference_hash(Image.new('RGB', (30, 20), (9, 80, 200))) == 0


def test_files_that_cannot_be_read_are_described(tmp_path):
  noise(0).save(tmp_path / 'a.png')
  content = (tmp_path / 'a.png').read_bytes()
  (tmp_path / 'half.png').write_bytes(content[: len(content) // 2])
  (tmp_path / 'text.png').write_text('no pixels')
  (tmp_path / 'folder.png').mkdir()
  problems = {
    name: inspect_image(name, folder=tmp_path).problem
    for name in ('a.png', 'no.png', 'half.png', 'text.png', 'folder.png', 'zero\0.png')
  }
  assert problems['a.png'] == ''
  assert problems['no.png'] == 'no such file'
  assert 'truncated' in problems['half.png']
  assert problems['text.png'] == 'not an image'
  assert 'directory' in problems['folder.png']
  assert problems['zero\0.png']


def test_links_must_not_lead_out_of_the_folder(tmp_path):
  (tmp_path / 'images').mkdir()
  noise(0).save(tmp_path / 'images/a.png')
  noise(1).save(tmp_path / 'b.png')
  (tmp_path / 'images/inside.png').symlink_to(tmp_path / 'images/a.png')
  (tmp_path / 'images/outside.png').symlink_to(tmp_path / 'b.png')
  inside, outside = (
    inspect_image(name, folder=tmp_path / 'images')
    for name in ('inside.png', 'outside.png')
  )
  assert inside.problem == ''
  assert outside.problem.startswith('a link to')


def test_groups_of_images_by_reach():
  splits = {
    'a': 'train',
    'b': 'train',
    'c': 'val',
    'd': 'val',
    'e': 'test',
    'f': 'test',
  }
  files = {'a': 'A', 'b': 'A', 'c': 'C', 'd': 'C', 'e': 'E', 'f': 'F'}
  looks = {'A': 1, 'C': 1, 'E': 2, 'F': 2}
  facts = {name: Facts('', file, looks[file]) for name, file in files.items()}
  findings = image_findings([row(splits[name], name) for name in splits], facts)
  assert found(findings) == {
    'groups of identical images, within a split': (
      'a (train) = b (train)',
      'c (val) = d (val)',
    ),
    'groups of images that look alike, over several splits': (
      'a (train) = b (train) = c (val) = d (val)',
    ),
    'groups of images that look alike, within a split': ('e (test) = f (test)',),
  }
  assert {kind.severity for kind in findings if kind.examples} == {WARNING}


def test_identical_images_of_two_splits():
  facts = {'a': Facts('', 'A', 1), 'b': Facts('', 'A', 1)}
  findings = image_findings([row('train', 'a'), row('test', 'b')], facts)
  assert found(findings) == {
    'groups of identical images, over several splits': ('a (train) = b (test)',)
  }


def test_an_image_that_two_splits_list_is_an_error():
  rows = [row('train', 'a'), row('test', 'a'), row('train', 'a')]
  (finding,) = (
    kind for kind in image_findings(rows, {'a': Facts('', 'A', 1)}) if kind.examples
  )
  assert finding.severity == ERROR
  assert finding.examples == ('a (train, test)',)


def test_images_that_fail_are_errors_and_not_compared():
  facts = {'a': Facts('no such file'), 'b': Facts('no such file'), 'c': Facts('broken')}
  findings = image_findings([row('train', name) for name in 'abc'], facts)
  assert found(findings) == {
    'images that are missing': ('a', 'b'),
    'images that cannot be used': ('c: broken',),
  }
  assert {kind.severity for kind in findings if kind.examples} == {ERROR}


@pytest.mark.parametrize('cleaning', CLEANINGS)
def test_captions_are_compared_as_training_reads_them(cleaning):
  rows = [
    row('train', 'a', 'A boat.', 'a boat', 'two boats'),
    row('train', 'b', 'Two  boats!', 'a field'),
    row('val', 'c', 'a field .', 'a lake'),
    row('val', 'd', ' ', '...'),
  ]
  findings = caption_findings(rows, cleaning=cleaning)
  assert found(findings) == {
    'captions that are empty': ('val, d',),
    'captions without a word': ('val, d: ...',),
    'captions in several splits': ('1 of train, 1 of val: "a field"',),
    'captions of several images': ('2 of train: "two boats"',),
    'captions repeated at an image': ('2 times at a (train): "a boat"',),
  }
  errors = [kind.what for kind in findings if kind.severity == ERROR]
  assert errors == ['captions that are empty']


def test_the_most_frequent_come_first():
  rows = [row('train', name, 'a field') for name in 'abc']
  rows += [row('train', name, 'a boat') for name in 'defg']
  examples = found(caption_findings(rows, cleaning='sound'))[
    'captions of several images'
  ]
  assert examples == ('4 of train: "a boat"', '3 of train: "a field"')


def test_rows_that_cannot_be_used_are_listed(tmp_path):
  good = {'image': 'a.png', 'caption': ['one', ''], 'split': 'train'}
  bad = [
    good | {'caption': 7},
    good | {'caption': []},
    good | {'image': None},
    good | {'image': '../a.png'},
    good | {'split': ''},
    {'image': 'a.png', 'caption': 'x'},
    good | {'caption': '\ud800'},
    {'filename': 'a.png', 'sentences': [{}], 'split': 'train'},
  ]
  path = tmp_path / 'dataset.json'
  path.write_text(json.dumps([good, *bad]))
  rows, unusable = read_rows({'train': path})
  assert rows == [Row('train', 'dataset.json, row 1', 'a.png', ('one', ''))]
  assert [line.split(':')[0] for line in unusable] == [
    f'dataset.json, row {number}' for number in range(2, 10)
  ]


def test_a_source_without_fault(small_data):
  report = audit(small_data, threads=2)
  assert [tuple(split) for split in report.splits] == [
    ('train', 'captions.jsonl', 12, 24),
    ('val', 'captions.jsonl', 6, 12),
    ('test', 'captions.jsonl', 6, 12),
  ]
  assert report.findings == ()


def test_a_source_with_faults(write_data, tmp_path):
  root = write_data(tmp_path / 'data')
  images = root / 'images'
  (images / 'train_0.png').unlink()
  (images / 'train_1.png').write_text('')
  (images / 'test_0.png').write_bytes((images / 'train_2.png').read_bytes())
  Image.open(images / 'train_3.png').save(images / 'val_0.png', compress_level=0)
  with (root / 'captions.jsonl').open('a') as file:
    for caption in ('', 'train_4 shows fields'):
      fields = {'image': 'val_1.png', 'caption': caption, 'split': 'val'}
      file.write(json.dumps(fields) + '\n')
  report = audit(root)
  assert found(report.findings) == {
    'images that are missing': ('train_0.png',),
    'images that cannot be used': ('train_1.png: not an image',),
    'captions that are empty': ('captions.jsonl, line 49',),
    'groups of identical images, over several splits': (
      'train_2.png (train) = test_0.png (test)',
    ),
    'groups of images that look alike, over several splits': (
      'train_3.png (train) = val_0.png (val)',
    ),
    'captions in several splits': ('1 of train, 1 of val: "train 4 shows fields"',),
  }
  assert (report.count(ERROR), report.count(WARNING)) == (3, 3)
  severities = [kind.severity for kind in report.findings]
  assert severities == sorted(severities)  # `error` is before `warning`


def test_what_cleaning_takes_from_captions_is_found(write_data, tmp_path):
  root = write_data(tmp_path / 'data')
  long = ' '.join(['a', 'long', 'caption'] * 10)
  with (root / 'captions.jsonl').open('a') as file:
    for caption in (f'{long} ends here', f'{long} goes on', 'roads,boats', '.'):
      fields = {'image': 'val_1.png', 'caption': caption, 'split': 'val'}
      file.write(json.dumps(fields) + '\n')
  sound, released = (audit(root, cleaning=name) for name in ('sound', 'released'))
  assert sound.cleanings == released.cleanings
  assert sound.content()['cleanings'] == {
    'released': {'cut': 2, 'glued': 1, 'made equal': 2, 'empty': 1},
    'sound': {'cut': 0, 'glued': 0, 'made equal': 0, 'empty': 1},
  }
  place = 'captions.jsonl, line'
  assert found(sound.findings) == {'captions without a word': (f'{place} 52: .',)}
  assert found(released.findings) == {
    'captions without a word': (f'{place} 52: .',),
    'captions repeated at an image': (f'2 times at val_1.png (val): "{long}"',),
    'captions that are cut': (
      f'after 30 words: {place} 49: {long} ends here',
      f'after 30 words: {place} 50: {long} goes on',
    ),
    'captions whose words are glued': (f'{place} 51: roads,boats: roads,boats',),
    'captions of other words made equal': (
      f'2 captions: "{long} ends here" = "{long} goes on"',
    ),
  }


def test_progress_sees_every_image_once(small_data):
  seen = []

  def track(items, *, title, total):
    assert (title, total) == ('images', 24)
    for item in items:
      seen.append(item)
      yield item

  audit(small_data, track=track)
  assert len(seen) == 24


def test_a_folder_without_annotations_is_a_mistake(tmp_path):
  with pytest.raises(UserError, match=r'data\.annotations: expected annotations'):
    audit(tmp_path)


def test_real_annotations_without_errors(data_dir):
  report = audit(data_dir / 'rsitmd_sample', threads=2)
  assert [(split.images, split.captions) for split in report.splits] == [
    (200, 1000),
    (40, 200),
    (40, 200),
  ]
  assert report.count(ERROR) == 0


@pytest.mark.parametrize(('stretch', 'lines'), [('auto', 1), ('0,3000', 0)])
def test_images_that_are_stretched_each_by_itself_are_told(tmp_path, stretch, lines):
  (tmp_path / 'images').mkdir()
  grey = np.random.default_rng(0).integers(200, 3000, (30, 40)).astype(np.uint16)
  Image.fromarray(grey).save(tmp_path / 'images/a.png')
  noise(0).save(tmp_path / 'images/b.png')
  rows = [{'image': name, 'caption': f'field {name}'} for name in ('a.png', 'b.png')]
  text = '\n'.join(json.dumps(row | {'split': 'train'}) for row in rows)
  (tmp_path / 'captions.jsonl').write_text(text)
  told = found(audit(tmp_path, how=How(stretch=stretch)).findings).get(OWN_STRETCH, ())
  assert len(told) == lines
  assert all(line.startswith('a.png') for line in told)


def test_names_that_differ_are_told_by_kind(write_data, tmp_path):
  root = write_data(tmp_path / 'data')
  images = root / 'images'
  (images / 'train_0.png').rename(images / 'Train_0.png')
  for number in (1, 2):
    (images / f'train_{number}.png').rename(images / f'train_{number}.PNG2')
  (images / 'more').mkdir()
  (images / 'val_0.png').rename(images / 'more/val_0.png')
  told = found(audit(root).findings)
  assert len(told['images that are missing']) == 4
  what = 'images that are there; --match=name takes files that differ in'
  assert told[f'{what} case'] == ('train_0.png: Train_0.png',)
  assert told[f'{what} folder'] == ('val_0.png: more/val_0.png',)
  for number in (1, 2):
    (images / f'train_{number}.PNG2').rename(images / f'train_{number}.png')
  report = audit(root, reading=Reading(match='name'))
  assert report.count(ERROR) == 0
  what = 'images that are taken from files that differ in'
  assert set(found(report.findings)) == {f'{what} case', f'{what} folder'}


def test_captions_other_than_the_clean_ones_are_counted(write_data, tmp_path):
  root = write_data(tmp_path / 'data')
  clean = (root / 'captions.jsonl').read_text()
  rows = [row for row in clean.splitlines() if '"train"' in row]
  (root / 'clean.jsonl').write_text('\n'.join(rows))
  noisy = clean.replace('train_3 shows fields', 'train_4 shows a wood')
  (root / 'captions.jsonl').write_text(noisy)
  told = found(audit(root, clean='clean.jsonl').findings)
  (lines,) = told.values()
  assert list(told) == ['captions other than the clean ones: 4.17% of 24']
  assert lines == (
    'captions.jsonl, line 7: train_4 shows a wood (clean: train_3 shows fields)',
  )
  (root / 'clean.jsonl').write_text('\n'.join(rows[1:]))
  with pytest.raises(UserError, match=r'^--clean=.*clean\.jsonl: expected two tables'):
    audit(root, clean='clean.jsonl')
