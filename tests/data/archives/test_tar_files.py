"""Tar shards as WebDataset, img2dataset and RS5M write them, and as strangers might."""

import io
import json
import re
import tarfile

import pytest

from harma_jax.data.archives import tar_files
from harma_jax.data.archives.tar_files import read_tar
from harma_jax.errors import UserError


def read(path, asked=''):
  return list(read_tar(path, asked=asked))


def described(samples):
  return [(each.entry.image, each.entry.captions, each.content) for each in samples]


def test_img2dataset_is_read_as_webdataset_reads_it(archives, tmp_path):
  wds = pytest.importorskip('webdataset', reason='the oracle')
  path = archives['tar'](tmp_path / '00000.tar', archives['img2dataset'](range(5)))
  expected = [
    (f'{each["__key__"]}.jpg', [each['txt'].decode()], each['jpg'])
    for each in wds.WebDataset(str(path), shardshuffle=False)
  ]
  assert described(read(path)) == expected
  assert len(expected) == 5


def test_rs5m_names_its_pictures_in_a_member(archives, tmp_path):
  content = archives['picture'](1)
  members = [
    ('pub11_7.img_content', content),
    ('pub11_7.img_name', b'pub11_0000007.jpg'),
    ('pub11_7.caption', b'a harbour with boats'),
  ]
  path = archives['tar'](tmp_path / 'pub11-train-0000.tar', members)
  expected = [('pub11_0000007.jpg', ['a harbour with boats'], content)]
  assert described(read(path)) == expected


@pytest.mark.parametrize(
  ('content', 'captions'),
  [
    ({'caption': 'one', 'url': 'x'}, ['one']),
    ({'captions': ['one', 'two'], 'width': 3}, ['one', 'two']),
    (['one', 'two'], ['one', 'two']),
    ({'sentences': [{'raw': 'one'}]}, ['one']),
  ],
)
def test_captions_stand_in_json_too(archives, tmp_path, content, captions):
  members = [
    ('d/1.png', archives['picture'](1, form='PNG')),
    ('d/1.cls', b'3'),
    ('d/1.json', json.dumps(content).encode()),
  ]
  (sample,) = read(archives['tar'](tmp_path / 'a.tar', members))
  assert (sample.entry.image, sample.entry.captions) == ('d/1.png', captions)


def test_columns_that_are_asked_for_go_before_the_text(archives, tmp_path):
  fields = json.dumps({'alt': 'of the page', 'caption': 'long', 'split': 'test'})
  members = [('1.jpg', archives['picture'](1)), ('1.txt', b'short')]
  path = archives['tar'](tmp_path / 'a.tar', [*members, ('1.json', fields.encode())])
  (sample,) = read(path, 'caption=alt')
  assert (sample.entry.captions, sample.entry.split) == (['of the page'], 'test')
  assert read(path)[0].entry.captions == ['short']


def test_names_may_have_dots_and_hidden_files_are_passed_by(archives, tmp_path):
  members = [
    ('._img_0.5m.jpg', b'of a mac'),
    ('img_0.5m.jpg', archives['picture'](1)),
    ('img_0.5m.txt', b'a road'),
  ]
  (sample,) = read(archives['tar'](tmp_path / 'a.tar', members))
  assert (sample.entry.image, sample.entry.captions) == ('img_0.5m.jpg', ['a road'])


@pytest.mark.parametrize(
  ('members', 'words'),
  [
    ([('1.jpg', b'x')], r'a\.tar, 1\.jpg: expected a caption beside it'),
    ([('1.txt', b'x')], r'a\.tar, 1\.txt: expected a picture of the same name'),
    ([('1.jpg', b'x'), ('1.png', b'y'), ('1.txt', b'z')], r'1\.jpg, 1\.png\. Keep one'),
    ([('1.jpg', b'x'), ('1.txt', b' \n')], r"expected a caption; found ''"),
    ([('1.jpg', b'x'), ('1.txt', b'\xff')], 'found byte 0xff at position 0'),
    ([('1.jpg', b'x'), ('1.json', b'{')], 'expected JSON'),
    ([('1.jpg', b'x'), ('1.json', b'{"note": "a"}')], 'found note'),
    (
      [('1.jpg', b'x'), ('1.json', b'{"title": "a", "caption": "b"}')],
      'expected one column of captions; found title, caption',
    ),
    ([('../1.jpg', b'x'), ('../1.txt', b'a')], 'a name inside of the archive'),
    ([('/1.jpg', b'x'), ('/1.txt', b'a')], 'a name inside of the archive'),
  ],
)
def test_what_is_wrong_with_a_member_is_said(archives, tmp_path, members, words):
  (sample,) = read(archives['tar'](tmp_path / 'a.tar', members))
  with pytest.raises(AssertionError, match=words):
    raise AssertionError(f'{sample.entry.place}: {sample.entry.problem}')


@pytest.mark.parametrize(
  'form', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
@pytest.mark.parametrize('folder', ['', 'd' * 60 + '/' + 'e' * 70 + '/', 'ü/'])
@pytest.mark.parametrize('time', [0, 1700000000.25])
def test_headers_of_every_form_are_read_as_tarfile_does(
  archives, tmp_path, form, folder, time
):
  path = tmp_path / 'a.tar'
  with tarfile.open(path, 'w', format=form) as tar:
    for name, content in archives['img2dataset'](range(2)):
      info = tarfile.TarInfo(folder + name)
      info.size, info.mtime = len(content), time
      tar.addfile(info, io.BytesIO(content))
  with tarfile.open(path) as tar:
    expected = [
      (info.name, tar.extractfile(info).read())
      for info in tar
      if info.name.endswith('jpg')
    ]
  assert [(name, content) for name, _, content in described(read(path))] == expected
  assert len(expected) == 2


@pytest.mark.parametrize('at', [3, 130, 150])
def test_a_header_that_is_damaged_is_found_out(archives, tmp_path, at):
  path = archives['tar'](tmp_path / 'a.tar', archives['img2dataset'](range(2)))
  with tarfile.open(path) as tar:
    start = tar.getmembers()[3].offset
  content = bytearray(path.read_bytes())
  content[start + at] ^= 0x11
  path.write_bytes(content)
  with pytest.raises(UserError, match=r'after 000000000\.txt: neither a member nor'):
    read(path)


def read_or_said(path):
  try:
    return read(path)
  except UserError as error:
    return str(error)


@pytest.mark.parametrize('at', [0, 99, 124, 130, 135, 148, 156, 257, 345])
@pytest.mark.parametrize('field', [b'     ', b'9', b'-0', b'\x80', b'_0', b'5', b'/'])
def test_a_strange_header_is_read_as_tarfile_alone_does(
  archives, tmp_path, monkeypatch, at, field
):
  path = archives['tar'](tmp_path / 'a.tar', archives['img2dataset'](range(3)))
  content = bytearray(path.read_bytes())
  with tarfile.open(path) as tar:
    start = tar.getmembers()[3].offset
  header = content[start : start + 512]
  header[at : at + len(field)] = field
  if at != 148:
    header[148:156] = b' ' * 8
    header[148:156] = b'%06o\0 ' % sum(header)
  content[start : start + 512] = header
  path.write_bytes(content)
  found = read_or_said(path)
  monkeypatch.setattr(tar_files, '_PLAIN', re.compile(b'none'))
  assert found == read_or_said(path)


def test_a_link_is_no_picture(tmp_path):
  path = tmp_path / 'a.tar'
  with tarfile.open(path, 'w') as tar:
    info = tarfile.TarInfo('1.jpg')
    info.type, info.linkname = tarfile.SYMTYPE, '/etc/passwd'
    tar.addfile(info)
    text = tarfile.TarInfo('1.txt')
    text.size = 1
    tar.addfile(text, io.BytesIO(b'a'))
  (sample,) = read(path)
  assert 'a link or a device' in sample.entry.problem


def test_a_member_beyond_the_limit_is_not_read(archives, tmp_path, monkeypatch):
  monkeypatch.setattr('harma_jax.data.archives.samples.MAX_PICTURE_BYTES', 10)
  path = archives['tar'](tmp_path / 'a.tar', archives['img2dataset'](range(2)))
  assert ['expected at most 10 bytes' in each.entry.problem for each in read(path)] == [
    True,
    True,
  ]


@pytest.mark.parametrize('mode', ['w', 'w:gz'])
@pytest.mark.parametrize('share', [0.0, 0.3, 0.8])
def test_a_shard_that_breaks_off_is_named_with_its_last_member(
  archives, tmp_path, mode, share
):
  members = archives['img2dataset'](range(12))
  path = archives['tar'](tmp_path / 'a.tar', members, mode=mode)
  path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
  with pytest.raises(UserError, match=r'a\.tar: expected a whole tar shard; .*anew\.'):
    read(path)


def test_a_shard_that_was_cut_between_members_is_found_out(archives, tmp_path):
  path = archives['tar'](tmp_path / 'a.tar', archives['img2dataset'](range(2)))
  with tarfile.open(path) as tar:
    end = tar.getmembers()[3].offset
  path.write_bytes(path.read_bytes()[:end])
  words = r'after 000000000\.txt: neither a member nor the mark of the end'
  with pytest.raises(UserError, match=words):
    read(path)


def test_a_shard_that_breaks_off_in_its_second_picture_says_after_what(
  archives, tmp_path
):
  path = archives['tar'](tmp_path / 'a.tar', archives['img2dataset'](range(2)))
  with tarfile.open(path) as tar:
    end = tar.getmembers()[3].offset_data + 9
  path.write_bytes(path.read_bytes()[:end])
  with pytest.raises(UserError, match=r'; after 000000000\.txt: unexpected end'):
    read(path)


def test_a_shard_of_other_content_is_named(tmp_path):
  path = tmp_path / 'a.tar'
  path.write_bytes(b'no tar' * 300)
  with pytest.raises(UserError, match='at its beginning'):
    read(path)
