"""Addresses of buckets and of the web are told from paths."""

import pathlib

import pytest

from harma_jax.data.local_paths import check_local, is_remote
from harma_jax.errors import UserError


@pytest.mark.parametrize(
  ('path', 'cure'),
  [
    ('gs://my-bucket/a/b', r'\(gcsfuse my-bucket /mnt/my-bucket\) and give /mnt/my-b'),
    ('gcs://my-bucket', r'gcsfuse my-bucket .* and give /mnt/my-bucket, or'),
    ('S3://b/x', 'mount-s3 b /mnt/b'),
    ('s3a://b/x', 'mount-s3 b /mnt/b'),
    ('abfss://c@account/x', 'blobfuse2 mount'),
    ('https://example.org/a.tif', 'Download it first'),
    ('file:///data/a', 'out: /data/a'),
    ('hdfs://node/x', 'rclone mount'),
    ('/vsis3/b/x', 'mount-s3 b /mnt/b'),
    ('/vsicurl/https://example.org/a.tif', 'Download it first'),
  ],
)
def test_what_is_no_path_is_told_how_to_become_one(path, cure):
  assert is_remote(path)
  with pytest.raises(UserError, match=f'^--out: expected a path .*{cure}'):
    check_local(path, '--out')


@pytest.mark.parametrize(
  'path', ['/a/b', 'gs:', 'gs:/a', '~/a', 'OWNER/NAME', 'C:\\a', 'a.py:x:y', '', '://a']
)
def test_paths_and_hub_ids_are_left_alone(path):
  assert not is_remote(path)
  check_local(path, '--out')
  check_local(pathlib.Path(path), '--out')
