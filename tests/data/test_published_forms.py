"""A small file of each published form, read with the command that the page has for it.

Every form holds the same scenes; the table in docs/data.md says how it is read.
"""

import csv
import io
import json
import pathlib
import re
import shlex
import tarfile
import zipfile

import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

from harma_jax.data import __main__ as command_line
from harma_jax.data.annotations import load_captions
from harma_jax.data.prepared import read_prepared
from harma_jax.data.reading import Reading

PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs/data.md'

# (name of the image, captions, split)
SCENES = [
  ('airport_1', ['two planes on a runway', 'an airport, seen from above'], 'train'),
  (
    'airport_2',
    ['a terminal with "five" gates', 'grey roofs beside a runway'],
    'train',
  ),
  ('beach_1', ['a beach with white sand', 'waves break at the shore'], 'val'),
  ('beach_2', ['a pier in blue water', 'swimmers near a pier'], 'test'),
]


def images_in(folder, name='{}.jpg'):
  """Writes an image for each scene; `name` may have folders."""
  for number, (scene, _, _) in enumerate(SCENES):
    path = folder / name.format(scene, scene.split('_')[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def of_split(split):
  return [scene for scene in SCENES if scene[2] == split]


def pairs(scenes):
  return [(name, caption) for name, captions, _ in scenes for caption in captions]


def write_table(path, names, rows, *, separator=','):
  with path.open('w', newline='') as file:
    csv.writer(file, delimiter=separator).writerows([names, *rows])


def harma(root):
  images_in(root / 'images')
  train = [
    {'image': f'{name}.jpg', 'caption': caption, 'image_id': name}
    for name, caption in pairs(of_split('train'))
  ]
  (root / 'rsicd_train.json').write_text(json.dumps(train))
  for split in ('val', 'test'):
    rows = [
      {'image': f'{name}.jpg', 'caption': captions}
      for name, captions, _ in of_split(split)
    ]
    (root / f'rsicd_{split}.json').write_text(json.dumps(rows))


def karpathy(root):
  images_in(root / 'images')
  names = {'train': ['restval', ' Train'], 'val': ['VAL'], 'test': ['test']}
  images = [
    {
      'filename': f'{name}.jpg',
      'imgid': number,
      'split': names[split].pop(0),
      'sentences': [{'raw': text, 'tokens': text.split()} for text in captions],
    }
    for number, (name, captions, split) in enumerate(SCENES)
  ]
  content = {'images': images, 'dataset': 'own'}
  (root / 'dataset_own.json').write_text(json.dumps(content))


def nwpu(root):
  images_in(root / 'images', '{1}/{0}.jpg')
  classes = {}
  for number, (name, (first, second), split) in enumerate(SCENES):
    classes.setdefault(name.split('_')[0], []).append(
      {
        'filename': f'{name}.jpg',
        'imgid': number,
        'split': split,
        'sentids': [2 * number, 2 * number + 1],
        'raw': first,
        'raw_1': second,
      }
    )
  (root / 'dataset_nwpu.json').write_text(json.dumps(classes))


def coco(root):
  images_in(root / 'images')
  for split in ('train', 'val', 'test'):
    scenes = of_split(split)
    numbers = {name: number for number, (name, _, _) in enumerate(scenes, start=7)}
    content = {
      'info': {'year': 2020},
      'images': [
        {'id': number, 'file_name': f'{name}.jpg', 'width': 24, 'height': 24}
        for name, number in numbers.items()
      ],
      'annotations': [
        {'id': row, 'image_id': numbers[name], 'caption': caption}
        for row, (name, caption) in enumerate(pairs(scenes))
      ],
    }
    (root / f'captions_{split}.json').write_text(json.dumps(content))


def open_clip(root):
  images_in(root / 'images')
  for split in ('train', 'val', 'test'):
    rows = [(f'{name}.jpg', caption) for name, caption in pairs(of_split(split))]
    path = root / f'{split}.csv'
    write_table(path, ('filepath', 'title'), rows, separator='\t')


def skyscript(root):
  images_in(root / 'images2', '{}_US_21.jpg')
  files = {
    'train': 'SkyScript_train_top30pct_filtered_by_CLIP_openai.csv',
    'val': 'SkyScript_val_5K_filtered_by_CLIP_openai.csv',
    'test': 'SkyScript_test_30K_filtered_by_CLIP_openai.csv',
  }
  for split, file in files.items():
    rows = [
      (f'images2/{name}_US_21.jpg', caption, f'{caption}, surrounded by trees')
      for name, caption in pairs(of_split(split))
    ]
    write_table(root / file, ('filepath', 'title', 'title_multi_objects'), rows)


def rrsitr(root):
  images_in(root / 'images', '{}.tif')
  files = {'train': 'RSITMD-NC-02', 'val': 'rsitmd_val', 'test': 'rsitmd_test'}
  for split, file in files.items():
    rows = [
      (f'/datasets/RSITMD/images/{name}.tif', caption)
      for name, caption in pairs(of_split(split))
    ]
    write_table(root / f'{file}.csv', ('filename', 'title'), rows)


def gaia(root):
  images_in(root / 'images')
  for split in ('train', 'val', 'test'):
    rows = [
      {
        'id': number,
        'image_src': f'https://example.org/img/2020/{name}.jpg',
        'image_alt': 'what the page says',
        'captions': captions,
        'credits': 'NASA',
        'lat': 1.0,
        'lon': 2.0,
        'tag': ['Water'],
      }
      for number, (name, captions, _) in enumerate(of_split(split))
    ]
    (root / f'{split}_data.json').write_text(json.dumps(rows))


def mgrs(root):
  images_in(root / 'global_imgs', 'part/{}.jpg')
  rows = [
    {
      'global_filepath': f'part/{name}.jpg',
      'brief_caption': first,
      'detailed_caption': second,
      'segment': [{'bbox': {'x1': 0}, 'category': 'plane', 'category_id': 3}],
    }
    for name, (first, second), _ in of_split('train')
  ]
  (root / 'text_info.json').write_text(json.dumps(rows))


def own_lines(root):
  images_in(root / 'images')
  rows = [
    {'image': f'{name}.jpg', 'captions': captions, 'split': split}
    for name, captions, split in SCENES
  ]
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  (root / 'captions.jsonl').write_text(text)


def own_csv(root):
  images_in(root / 'images')
  rows = [
    (f'{name}.jpg', caption, split)
    for name, captions, split in SCENES
    for caption in captions
  ]
  write_table(root / 'captions.csv', ('image', 'caption', 'split'), rows)


def own_columns(root):
  images_in(root / 'images')
  rows = [(f'{name}.jpg', *captions, split) for name, captions, split in SCENES]
  names = ('picture', 'english', 'also', 'part')
  write_table(root / 'captions.csv', names, rows, separator=';')


def parquet(root):
  pa = pytest.importorskip('pyarrow', reason='reads parquet')
  pq = pytest.importorskip('pyarrow.parquet')
  images_in(root / 'images')
  rows = [
    {'file_name': f'{name}.jpg', 'captions': captions, 'split': split}
    for name, captions, split in SCENES
  ]
  pq.write_table(pa.Table.from_pylist(rows), root / 'captions.parquet')


def other_ending(root):
  harma(root)
  for path in (root / 'images').iterdir():
    path.rename(path.with_suffix('.PNG'))


def tars_of_rs5m(root):
  for split in ('train', 'val', 'test'):
    members = []
    for name, captions, _ in of_split(split):
      members += [(f'{name}.img_content', picture_of(name))]
      members += [(f'{name}.img_name', f'{name}.jpg'.encode())]
      members += [(f'{name}.json', json.dumps(captions).encode())]
    write_tar(root / f'pub11-{split}-0000.tar', members)


def tars_of_img2dataset(root):
  for split in ('train', 'val', 'test'):
    (root / split).mkdir()
    members = []
    for name, captions, _ in of_split(split):
      fields = {'captions': captions, 'url': 'https://example.org', 'key': name}
      members += [(f'{name}.jpg', picture_of(name))]
      members += [(f'{name}.json', json.dumps(fields).encode())]
    write_tar(root / split / '00000.tar', members)
    (root / split / '00000_stats.json').write_text('{"count": 2}')


def parquet_of_the_hub(root):
  pa = pytest.importorskip('pyarrow', reason='reads parquet')
  pq = pytest.importorskip('pyarrow.parquet')
  (root / 'data').mkdir()
  for split, called in {'train': 'train', 'val': 'validation', 'test': 'test'}.items():
    rows = [
      {
        'filename': f'rsicd_images/{name}.jpg',
        'captions': captions,
        'image': {'bytes': picture_of(name), 'path': None},
      }
      for name, captions, _ in of_split(split)
    ]
    path = root / f'data/{called}-00000-of-00001.parquet'
    pq.write_table(pa.Table.from_pylist(rows), path)


def zip_with_a_table(root):
  rows = [
    {'image': f'{name}.jpg', 'captions': captions, 'split': split}
    for name, captions, split in SCENES
  ]
  with zipfile.ZipFile(root / 'RSICD.zip', 'w') as archive:
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    archive.writestr('RSICD/captions.jsonl', text)
    for name, _, _ in SCENES:
      archive.writestr(f'RSICD/images/{name}.jpg', picture_of(name))


def pairs_in_folders(root):
  for name, captions, split in SCENES:
    (root / split).mkdir(exist_ok=True)
    (root / split / f'{name}.jpg').write_bytes(picture_of(name))
    text = json.dumps({'captions': captions})
    (root / split / f'{name}.json').write_text(text)


def picture_of(name):
  pixels = np.full((24, 24, 3), sum(name.encode()) % 256, np.uint8)
  content = io.BytesIO()
  Image.fromarray(pixels).save(content, 'JPEG')
  return content.getvalue()


def write_tar(path, members):
  with tarfile.open(path, 'w') as tar:
    for name, content in members:
      info = tarfile.TarInfo(name)
      info.size = len(content)
      tar.addfile(info, io.BytesIO(content))


# What `prepare` alone reads.
ARCHIVES = {
  "RS5M's tars": tars_of_rs5m,
  "img2dataset's tars": tars_of_img2dataset,
  "parquet of the hub's copies": parquet_of_the_hub,
  'zip with a table': zip_with_a_table,
  'pairs of files': pairs_in_folders,
}

FORMS = {
  "HarMA's and PIR's pair": harma,
  "Karpathy's": karpathy,
  'NWPU-Captions': nwpu,
  "COCO's captions": coco,
  "OpenCLIP's, RemoteCLIP's": open_clip,
  'SkyScript': skyscript,
  'RRSITR': rrsitr,
  'GAIA': gaia,
  'MGRS-200k': mgrs,
  'JSON lines': own_lines,
  'CSV or TSV': own_csv,
  'other columns': own_columns,
  'parquet of names': parquet,
  'images under another name': other_ending,
}


def commands_of_the_page():
  """By form, the flags of the command that docs/data.md gives in its table."""
  rows = re.findall(
    r'^\| \*\*(.+?)\*\*.*\| `(.*?)` \|$', PAGE.read_text(), re.MULTILINE
  )
  return {form: shlex.split(command) for form, command in rows}


def test_the_page_has_every_form():
  assert commands_of_the_page().keys() == {*FORMS, *ARCHIVES, 'a data set of the hub'}


@pytest.mark.parametrize('form', FORMS)
def test_a_form_is_read_with_the_command_of_the_page(form, tmp_path, capsys):
  FORMS[form](tmp_path)
  flags = given(commands_of_the_page()[form], 'check', root=tmp_path)
  with flagsaver.flagsaver(**flags):
    assert command_line.main(['data', 'check']) == 0
  assert 'errors: 0' in capsys.readouterr().out
  splits = ['train'] if form == 'MGRS-200k' else ['train', 'val', 'test']
  for split in splits:
    table = load_captions(tmp_path, split=split, **for_loading(flags))
    assert table.captions == tuple(caption for _, caption in pairs(of_split(split)))
    images = [
      pathlib.Path(file).stem.removesuffix('_US_21') for file in table.image_files
    ]
    assert images == [name for name, _, _ in of_split(split)]


@pytest.mark.parametrize('form', ARCHIVES)
def test_an_archive_is_prepared_with_the_command_of_the_page(form, tmp_path, capsys):
  source, out = tmp_path / 'source', tmp_path / 'out'
  source.mkdir()
  ARCHIVES[form](source)
  flags = given(commands_of_the_page()[form], 'prepare', root=source, out=out)
  with flagsaver.flagsaver(**flags):
    assert command_line.main(['data', 'prepare']) == 0
  assert 'checksums, counts and captions verified' in capsys.readouterr().out
  for split in ('train', 'val', 'test'):
    table = read_prepared(out, split=split)
    assert table.captions == [caption for _, caption in pairs(of_split(split))]
    names = [pathlib.Path(file).stem for file in table.image_files]
    assert names == [name for name, _, _ in of_split(split)]
    contents = [table.image_path(row).read_bytes() for row in range(table.n_images)]
    assert contents == [picture_of(name) for name in names]


def given(words, command, *, root, out='OUT'):
  """The flags of a command line, with the folders in their places."""
  assert words[:3] == ['harma-jax', 'data', command]
  flags = dict(word.removeprefix('--').split('=', 1) for word in words[3:])
  assert flags['source'].startswith('FOLDER')
  assert flags.get('out', 'OUT') == 'OUT'
  flags['source'] = flags['source'].replace('FOLDER', str(root))
  return flags | ({'out': str(out)} if 'out' in flags else {})


def for_loading(flags):
  names = ('columns', 'prefix', 'match')
  reading = Reading(**{name: flags[name] for name in names if name in flags})
  places = {name: flags[name] for name in ('annotations', 'images') if name in flags}
  return places | {'reading': reading}
