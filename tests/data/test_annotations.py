"""Every form of annotation gives the same table; every mistake gives one message."""

import json
import pathlib

import numpy as np
import pytest

from harma_jax.data.annotations import CaptionTable, fingerprint, load_captions
from harma_jax.data.reading import Reading, say_once
from harma_jax.errors import UserError

# (image, captions, split)
SCENES = [
  ('train/a.jpg', ['one ship .', 'a ship, at sea'], 'train'),
  ('train/b.tif', ['Two "old" planes', 'two planes'], 'train'),
  ('val/c.jpg', ['a wood é', 'trees'], 'val'),
]


def scenes_of(split):
  return [scene for scene in SCENES if scene[2] == split]


def rows_of(scenes, *, with_split=True):
  """One row a caption, as JSON lines and CSV have them."""
  return [
    {'image': image, 'caption': caption} | ({'split': split} if with_split else {})
    for image, captions, split in scenes
    for caption in captions
  ]


def write_json(path, content):
  path.write_text(json.dumps(content))


def write_jsonl(path, rows):
  path.write_text(''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows))


def write_csv(path, rows):
  quoted = ['"{}"'.format(row['caption'].replace('"', '""')) for row in rows]
  fields = [','.join(rows[0])]
  for row, caption in zip(rows, quoted, strict=True):
    fields.append(','.join([row['image'], caption, *list(row.values())[2:]]))
  path.write_text('\n'.join(fields) + '\n')


def write_pair(root):
  write_json(root / 'toy_train.json', rows_of(scenes_of('train'), with_split=False))
  lists = [{'image': image, 'caption': texts} for image, texts, _ in scenes_of('val')]
  write_json(root / 'toy_val.json', lists)


def write_karpathy(root):
  images = [
    {
      'filename': image,
      'split': split,
      'imgid': row,
      'sentences': [{'raw': text, 'tokens': text.split()} for text in captions],
    }
    for row, (image, captions, split) in enumerate(SCENES)
  ]
  write_json(root / 'dataset_toy.json', {'images': images, 'dataset': 'toy'})


def write_files_of_splits(root, *, name, write):
  for split in ('train', 'val'):
    write(root / name.format(split), rows_of(scenes_of(split), with_split=False))


FORMS = {
  'pair': write_pair,
  'karpathy': write_karpathy,
  'jsonl': lambda root: write_jsonl(root / 'captions.jsonl', rows_of(SCENES)),
  'csv': lambda root: write_csv(root / 'captions.csv', rows_of(SCENES)),
  'split.jsonl': lambda root: write_files_of_splits(
    root, name='{}.jsonl', write=write_jsonl
  ),
  'captions_split.csv': lambda root: write_files_of_splits(
    root, name='captions_{}.csv', write=write_csv
  ),
}


@pytest.fixture
def root(tmp_path) -> pathlib.Path:
  """A data set with images (empty files) and no annotations yet."""
  for image, _, _ in SCENES:
    path = tmp_path / 'images' / image
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  return tmp_path


@pytest.fixture(autouse=True)
def _nothing_said():
  say_once.cache_clear()


def message_of(root, **keywords) -> str:
  with pytest.raises(UserError) as caught:
    load_captions(root, **({'split': 'train'} | keywords))
  return str(caught.value)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('split', ['train', 'val'])
def test_every_form_gives_the_same_table(root, form, split):
  FORMS[form](root)

  table = load_captions(root, split=split)

  scenes = scenes_of(split)
  assert table.split == split
  assert table.image_root == root / 'images'
  assert table.image_files == tuple(image for image, _, _ in scenes)
  assert table.captions == tuple(text for _, texts, _ in scenes for text in texts)
  assert table.caption_image.dtype == np.int32
  expected = [row for row, (_, texts, _) in enumerate(scenes) for _ in texts]
  np.testing.assert_array_equal(table.caption_image, expected)
  assert (table.n_images, table.n_captions) == (len(scenes), 2 * len(scenes))
  assert table.image_path(0).is_file()


def test_captions_of_an_image_need_not_be_neighbours(root):
  rows = rows_of(scenes_of('train'))
  write_jsonl(root / 'captions.jsonl', [rows[2], rows[0], rows[3], rows[1]])
  table = load_captions(root, split='train')
  assert table.image_files == ('train/b.tif', 'train/a.jpg')
  np.testing.assert_array_equal(table.caption_image, [0, 1, 0, 1])


def test_spellings_of_a_path_are_one_image(root):
  names = ['train/a.jpg', './train/a.jpg', 'train//a.jpg']
  rows = [{'image': name, 'caption': 'a ship'} for name in names]
  write_json(root / 'toy_train.json', rows)
  assert load_captions(root, split='train').image_files == ('train/a.jpg',)


def test_caption_image_is_read_only(root):
  write_pair(root)
  with pytest.raises(ValueError, match='read-only'):
    load_captions(root, split='val').caption_image[0] = 1


def test_file_name_may_hold_the_split_anywhere(root):
  (root / 'val').mkdir()
  rows = rows_of(scenes_of('val'), with_split=False)
  write_jsonl(root / 'val' / 'notes.jsonl', rows)
  table = load_captions(root, split='val', annotations='{split}/notes.jsonl')
  assert table.n_captions == 2


def test_field_split_counts_more_than_the_file_name(root):
  write_jsonl(root / 'captions_val.jsonl', rows_of(SCENES))
  table = load_captions(root, split='val')
  assert table.image_files == ('val/c.jpg',)


def test_annotations_and_images_may_be_absolute(root, tmp_path):
  write_karpathy(root)
  table = load_captions(
    root,
    split='val',
    annotations=str(root / 'dataset_toy.json'),
    images=str(tmp_path / 'images'),
  )
  assert table.captions == ('a wood é', 'trees')


def test_images_may_lie_elsewhere(root):
  write_pair(root)
  (root / 'images').rename(root / 'toy_images')
  assert load_captions(root, split='val', images='toy_images').n_images == 1


def test_byte_order_mark_and_windows_lines_are_read(root):
  text = 'image,caption\r\ntrain/a.jpg,"one ship, at sea"\r\n\r\ntrain/b.tif,two\r\n'
  (root / 'train.csv').write_bytes(b'\xef\xbb\xbf' + text.encode())
  assert load_captions(root, split='train').captions == ('one ship, at sea', 'two')


def test_line_separator_inside_a_caption_is_no_new_row(root):
  rows = [{'image': 'train/a.jpg', 'caption': 'one\u2028ship'}]
  write_jsonl(root / 'train.jsonl', rows)
  assert load_captions(root, split='train').captions == ('one\u2028ship',)
  (root / 'train.jsonl').rename(root / 'unused')
  write_csv(root / 'train.csv', rows)
  assert load_captions(root, split='train').captions == ('one\u2028ship',)


def test_hidden_copies_of_a_file_are_no_candidates(root):
  write_pair(root)
  (root / '._toy_val.json').write_bytes(b'\x00')
  assert load_captions(root, split='val').n_images == 1


def test_file_of_a_split_comes_before_a_file_of_all(root):
  write_jsonl(root / 'captions.jsonl', rows_of(scenes_of('train'), with_split=False))
  write_jsonl(root / 'captions_val.jsonl', rows_of(scenes_of('val'), with_split=False))
  assert load_captions(root, split='val').image_files == ('val/c.jpg',)
  assert load_captions(root, split='train').n_images == 2


def test_missing_root_is_named(tmp_path):
  (tmp_path / 'rsitmd').mkdir()
  message = message_of(tmp_path / 'rsicd')
  assert str(tmp_path / 'rsicd') in message
  assert 'rsitmd/' in message
  assert '--config.data.root=' in message
  assert '--config.data.root=' in message_of('')


def test_missing_annotations_list_what_is_wanted_and_what_is_there(root):
  (root / 'readme.txt').touch()
  message = message_of(root)
  for part in ('*_train.json', 'captions.csv', 'images/', 'readme.txt'):
    assert part in message
  assert '--config.data.annotations=' in message


def test_named_annotations_that_are_missing(root):
  write_pair(root)
  message = message_of(root, annotations='my_{split}.json')
  assert str(root / 'my_train.json') in message
  assert 'toy_val.json' in message


def test_two_candidates_are_listed(root):
  write_pair(root)
  write_json(root / 'other_train.json', [])
  message = message_of(root)
  assert 'other_train.json, toy_train.json' in message
  assert '--config.data.annotations=other_train.json' in message


@pytest.mark.parametrize('form', ['karpathy', 'jsonl'])
def test_absent_split_lists_those_found(root, form):
  FORMS[form](root)
  message = message_of(root, split='test')
  assert "'test'" in message
  assert 'train (' in message
  assert 'val (' in message


def test_file_without_splits_serves_train_alone(root):
  write_csv(root / 'captions.csv', rows_of(scenes_of('train'), with_split=False))
  assert load_captions(root, split='train').n_images == 2
  message = message_of(root, split='val')
  assert 'captions.csv' in message
  assert 'column) "split"' in message


def test_file_of_another_split_is_refused(root):
  write_pair(root)
  message = message_of(root, split='val', annotations='toy_train.json')
  assert "'val'" in message
  assert "'train'" in message


def test_row_without_split_among_rows_with_one(root):
  rows = rows_of(SCENES)
  del rows[2]['split']
  write_jsonl(root / 'captions.jsonl', rows)
  assert 'line 3' in message_of(root)


BROKEN = {
  'toy_train.json': ('[\n{"image": "a"},\n{"image"\n]', 'line 4, column 1'),
  'train.jsonl': ('{"image": "a", "caption": "b"}\n\n{oops}\n', 'line 3, column 2'),
  'train.csv': ('image,caption\na.jpg,"one" ship\n', 'line 2'),
  'captions.csv': ('image,caption\n\na.jpg,ship\n\nb.jpg,red, blue\n', 'line 5'),
  'captions_train.csv': ('image,caption\na.jpg,"no end\nb.jpg,c\n', 'line 2'),
  'captions.jsonl': ('{"image": "a.jpg", "caption": 3}\n', 'line 1'),
}


@pytest.mark.parametrize('name', BROKEN)
def test_unreadable_line_is_numbered(root, name):
  text, place = BROKEN[name]
  (root / name).write_text(text)
  message = message_of(root)
  assert f'{root / name}, {place}' in message


def test_header_without_the_columns(root):
  (root / 'train.csv').write_text('picture,words\na.jpg,ship\n')
  message = message_of(root)
  assert 'columns image and caption' in message
  assert 'picture, words' in message


def test_text_in_another_encoding(root):
  (root / 'train.csv').write_bytes('image,caption\na.jpg,é\n'.encode('latin-1'))
  message = message_of(root)
  assert 'UTF-8' in message
  assert '0xe9' in message


def test_unknown_ending(root):
  (root / 'captions.txt').touch()
  assert '.jsonl' in message_of(root, annotations='captions.txt')


@pytest.mark.parametrize('content', [3, 'text', {'annotations': []}, {'images': {}}])
def test_json_without_a_list_of_rows(root, content):
  write_json(root / 'toy_train.json', content)
  assert 'list of rows' in message_of(root)


@pytest.mark.parametrize(
  'row',
  [
    {'image': 'train/a.jpg'},
    {'caption': 'one ship'},
    {'image': 3, 'caption': 'one ship'},
    {'image': 'train/a.jpg', 'caption': []},
    {'image': 'train/a.jpg', 'caption': ['one ship', None]},
    {'image': 'train/a.jpg', 'caption': {'raw': 'one ship'}},
    {'filename': 'train/a.jpg', 'sentences': [3]},
    {'filename': 'train/a.jpg', 'sentences': [{'words': 'one ship'}]},
    {'filename': 'train/a.jpg', 'sentences': None},
    ['train/a.jpg', 'one ship'],
    'train/a.jpg',
    None,
  ],
)
def test_unusable_row_is_shown(root, row):
  good = {'image': 'train/a.jpg', 'caption': 'one ship'}
  write_json(root / 'toy_train.json', [good, row])
  message = message_of(root)
  assert 'toy_train.json, row 2' in message
  assert str(row)[2:7] in message or 'null' in message


@pytest.mark.parametrize('caption', ['', '  \n\t', ['one ship', ' ']])
def test_empty_caption_is_refused(root, caption):
  write_json(root / 'toy_train.json', [{'image': 'train/a.jpg', 'caption': caption}])
  message = message_of(root)
  assert 'toy_train.json, row 1' in message
  assert 'expected a caption' in message


def test_lone_surrogate_is_refused(root):
  write_json(root / 'toy_train.json', [{'image': 'train/a.jpg', 'caption': '\ud800'}])
  assert 'surrogate' in message_of(root)


@pytest.mark.parametrize('content', ['[]', '{"images": []}'])
def test_no_rows(root, content):
  (root / 'toy_train.json').write_text(content)
  assert 'found none' in message_of(root)


@pytest.mark.parametrize(
  'image', ['../secret.jpg', 'train/../../a.jpg', '/etc/hosts', '', '.']
)
def test_path_outside_of_the_image_folder_is_refused(root, image):
  write_json(root / 'toy_train.json', [{'image': image, 'caption': 'one ship'}])
  message = message_of(root)
  assert 'row 1' in message
  assert repr(image) in message


def test_missing_image_folder_shows_what_is_there(root):
  write_pair(root)
  (root / 'images').rename(root / 'pictures')
  message = message_of(root)
  assert str(root / 'images') in message
  assert 'pictures/' in message
  assert '--config.data.images=' in message


def test_missing_images_are_counted_and_the_first_is_named(root):
  names = ['train/a.jpg', 'train/x.jpg', 'gone/y.jpg', 'train', 'train/\0.jpg']
  rows = [{'image': name, 'caption': 'one ship'} for name in names]
  write_json(root / 'toy_train.json', rows)
  message = message_of(root)
  assert '4 cannot be found' in message
  assert 'the first is train/x.jpg' in message
  assert str(root / 'images') in message


def test_message_about_many_files_stays_short(root):
  write_pair(root)
  for number in range(100):
    (root / f'{number:03}.log').touch()
  message = message_of(root, split='test')
  assert 'and 91 more' in message  # of 103, 12 are shown


def make_table(**changes) -> CaptionTable:
  fields = {
    'image_root': pathlib.Path('images'),
    'image_files': ('a.jpg', 'b.jpg'),
    'captions': ('one', 'two', 'three'),
    'caption_image': np.array([0, 1, 1], np.int32),
    'split': 'train',
  }
  return CaptionTable(**(fields | changes))


@pytest.mark.parametrize(
  'changes',
  [
    {'captions': ('two', 'one', 'three')},
    {'captions': ('one', 'two', 'thre')},
    {'image_files': ('b.jpg', 'a.jpg')},
    {'caption_image': np.array([0, 0, 1], np.int32)},
    {'split': 'val'},
  ],
)
def test_fingerprint_sees_every_change(changes):
  assert fingerprint(make_table(**changes)) != fingerprint(make_table())


def test_fingerprint_is_the_same_in_every_process_and_folder():
  first = fingerprint(make_table())
  assert first == fingerprint(make_table(image_root=pathlib.Path('/elsewhere')))
  assert first.startswith('aae6ee3a969bb655')
  assert len(first) == 64


def test_restval_is_training_data_and_that_is_said(root, caplog):
  write_karpathy(root)
  path = root / 'dataset_toy.json'
  content = json.loads(path.read_text())
  for image, split in zip(content['images'], ('restval', ' Train', 'VAL'), strict=True):
    image['split'] = split
  write_json(path, content)
  with caplog.at_level('INFO'):
    assert load_captions(root, split='train').n_images == 2
  said = "dataset_toy.json: 1 rows of split 'restval' are training data"
  assert caplog.text.count(said) == 1
  apart = Reading(restval=False)
  assert load_captions(root, split='train', reading=apart).n_images == 1
  assert load_captions(root, split='restval', reading=apart).n_images == 1
  assert load_captions(root, split='Val').image_files == ('val/c.jpg',)
  assert "expected rows of split 'restval'" in message_of(root, split='restval')


def test_what_columns_were_taken_for_is_said_once(root, caplog):
  rows = [{'filepath': 'train/a.jpg', 'title': 'one', 'title_multi_objects': 'x'}]
  write_jsonl(root / 'train.jsonl', rows)
  with caplog.at_level('INFO'):
    for _ in range(2):
      load_captions(root, split='train')
  said = 'train.jsonl: image=filepath,caption=title (not taken: title_multi_objects)'
  assert caplog.text.count(said) == 1


def test_several_files_serve_the_split_in_their_name(root):
  for name, split in {'NC-02': 'train', 'toy_val': 'val'}.items():
    write_csv(root / f'{name}.csv', rows_of(scenes_of(split), with_split=False))
  files = 'NC-02.csv, toy_val.csv'
  for split, images in {'train': 2, 'val': 1}.items():
    assert load_captions(root, split=split, annotations=files).n_images == images
  message = message_of(root, split='test', annotations=files)
  assert 'found rows without a field' in message
  message = message_of(root, annotations='toy_val.csv,toy_test.csv')
  assert 'found 0: toy_val.csv, toy_test.csv' in message


def test_names_that_differ_are_counted_and_accepted_where_that_is_asked(root, caplog):
  names = ['Train/A.jpg', 'train/b.jpg', 'c.jpg', '/elsewhere/c.jpg', 'gone.jpg']
  rows = [{'image': name, 'caption': name} for name in names]
  write_json(root / 'toy_train.json', [*rows[:3], rows[4]])
  message = message_of(root)
  assert '4 cannot be found, the first is Train/A.jpg (' in message
  assert 'toy_train.json, row 1)' in message
  assert 'Of them 3 are there under a name that differs in ' in message
  assert 'case (1), ending (1), folder (1), as train/a.jpg for Train/A.jpg' in message
  assert '--config.data.match=name' in message
  message = message_of(root, reading=Reading(match='name'))
  assert '1 cannot be found, the first is gone.jpg (' in message
  assert 'row 4' in message
  write_json(root / 'toy_train.json', rows[:4])
  assert 'row 4' in message_of(root)
  with caplog.at_level('INFO'):
    table = load_captions(root, split='train', reading=Reading(match='name'))
  assert table.image_files == ('train/a.jpg', 'train/b.tif', 'val/c.jpg')
  np.testing.assert_array_equal(table.caption_image, [0, 1, 2, 2])
  assert not table.caption_image.flags.writeable
  assert "4 images of split 'train' are taken from files that differ" in caplog.text


def test_missing_images_may_stay(root):
  rows = [{'image': name, 'caption': 'x'} for name in ('train/a.jpg', 'gone.jpg')]
  write_json(root / 'toy_train.json', rows)
  table = load_captions(root, split='train', missing_ok=True)
  assert table.image_files == ('train/a.jpg', 'gone.jpg')
  (root / 'images/gone.jpg').symlink_to('/etc/hosts')
  with pytest.raises(UserError, match=r'row 2: .* a link to /etc/hosts'):
    load_captions(root, split='train', missing_ok=True)


def test_a_leading_folder_is_rewritten(root):
  rows = [{'image': '/old/x/train/a.jpg', 'caption': 'x'}]
  write_json(root / 'toy_train.json', rows)
  assert '--config.data.prefix=/old/x/train=' in message_of(root)
  reading = Reading(prefix='/old/x=')
  assert load_captions(root, split='train', reading=reading).n_images == 1
  rows = [{'image': str(root / 'images/train/a.jpg'), 'caption': 'x'}]
  write_json(root / 'toy_train.json', rows)
  assert load_captions(root, split='train').image_files == ('train/a.jpg',)


def test_rsicd(data_dir):
  train = load_captions(data_dir / 'rsicd', split='train')
  assert (train.n_captions, train.n_images) == (39310, 7862)
  np.testing.assert_array_equal(train.caption_image, np.arange(39310) // 5)
  val = load_captions(data_dir / 'rsicd', split='val')
  assert (val.n_captions, val.n_images) == (5 * 1966, 1966)
  assert not set(train.image_files) & set(val.image_files)


def test_rsicd_has_no_test_split_here(data_dir):
  message = message_of(data_dir / 'rsicd', split='test')
  assert 'rsicd_val.json' in message


@pytest.mark.parametrize(
  ('split', 'images'), [('train', 200), ('val', 40), ('test', 40)]
)
def test_rsitmd_sample(data_dir, split, images):
  table = load_captions(data_dir / 'rsitmd_sample', split=split)
  assert (table.n_captions, table.n_images) == (5 * images, images)
  assert table.image_path(0).suffix == '.tif'
