"""The links of the pages lead somewhere."""

import pathlib
import re

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / 'README.md', *sorted((REPOSITORY / 'docs').glob('*.md'))]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
  targets = re.findall(r'\]\(([^)#\s]+)[^)]*\)', page.read_text())
  files = [target for target in targets if '://' not in target]
  assert [file for file in files if not (page.parent / file).exists()] == []
