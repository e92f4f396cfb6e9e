"""What pages say that commands say is found in them, and only examples may differ."""

import pytest

from tests.documented import PAGES, Documented, documented

PAGE = """\
It ends with `Interrupted. Again.` A `word` between, a `--flag of two`, and `x: expected
1; found 2.`

| what | message | what to do |
|---|---|---|
| this | `FOLDER/a was empty`; `b was`, within `--timeout` | set `this or that` |

| another | table |
|---|---|
| a | `not a message` |

    harma-jax train --config=a: b

    error: Expected a step; found none.

    run/a: a dry run
    ┌────────┬──────────┐
    │ data   │ 12 of    │
    │        │ 24       │
    │ a step │ 2 s      │
    └────────┴──────────┘
"""


def test_messages_and_lines_of_screens_are_found(tmp_path):
  (tmp_path / 'a.md').write_text(PAGE)
  assert [(label, text) for _, text, label in documented(tmp_path / 'a.md')] == [
    ('', 'FOLDER/a was empty'),
    ('', 'b was'),
    ('', 'Interrupted. Again.'),
    ('', 'x: expected 1; found 2.'),
    ('', 'error: Expected a step; found none.'),
    ('', 'run/a: a dry run'),
    ('data', '12 of 24'),
    ('a step', '2 s'),
  ]


def test_pages_that_say_some_have_a_module_that_brings_them_about():
  of_messages, of_screens = {'operations.md'}, {'archive', 'launching', 'throughput'}
  expected = of_messages | {f'{name}.md' for name in of_screens}
  assert {page.name for page in PAGES if documented(page)} == expected


@pytest.mark.parametrize(
  ('text', 'said', 'is_said'),
  [
    ('found 32 in FOLDER.', 'found 8.5 in /a/b.', True),
    ('found 32 in FOLDER.', 'found 8.5 in /a/b. Or more.', False),
    ('found 32. [...]', 'found 8. Or more.', True),
    ('found 32. [...]', 'Expected 9; found 8. Or more.', False),
    ('1 of 2 is (x)', '1 of many is (x)', False),
    ('was 1e+38, now 0.1', 'was 2.0, now 1e-05', True),
    ('holds 432.0 KiB', 'holds 1.05 GiB', True),
    ('read as ... white', 'read as black to white', True),
  ],
)
def test_only_examples_may_differ(text, said, is_said):
  assert Documented('a.md', text).is_said_by(said) == is_said
