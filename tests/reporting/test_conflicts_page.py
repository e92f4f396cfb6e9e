"""The page of conflicting captions: each once, with its image, and nothing fetched."""

import pytest

from harma_jax.building.data import build_table
from harma_jax.reporting.conflicts_page import conflicts_page


@pytest.fixture
def table(small_config):
  return build_table(small_config(), 'train')


@pytest.fixture
def rows(table):
  """Of three captions of three images."""
  return [
    {
      'step': 4,
      'row': row,
      'image': str(table.image_path(table.caption_image[row])),
      'caption': table.captions[row],
      'mean_cosine': -0.25,
      'seen': 4,
      'dropped': 2.0,
    }
    for row in (0, 3, 5)
  ]


def test_a_page_shows_each_caption_once_and_needs_no_network(rows, table):
  rows[0]['caption'] = 'fields & <boats>'
  page = conflicts_page(rows, table=table)
  assert page.count('data:image/jpeg;base64,') == 3
  assert 'fields &amp; &lt;boats&gt;' in page
  assert page.count(rows[1]['caption']) == 1
  assert 'after step 4' in page
  assert 'cosine -0.250, dropped 2 of 4' in page
  assert 'src="http' not in page


def test_a_page_shows_the_same_images_of_a_prepared_folder(
  rows, table, small_config, prepared_data
):
  prepared = build_table(small_config({'data.root': str(prepared_data)}), 'train')
  expected = conflicts_page(rows, table=table)
  assert conflicts_page(rows, table=prepared) == expected


def test_a_page_of_nothing_is_a_page(table):
  assert '<figure' not in conflicts_page([], table=table)
