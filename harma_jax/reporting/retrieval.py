"""Queries that show a model at work: found ones, failed ones, and some at random."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from harma_jax.evaluation.duplicates import caption_groups
from harma_jax.evaluation.ranks import Features
from harma_jax.evaluation.recall import Ranks
from harma_jax.reporting.page import escape, paragraph, section

EACH, TOP = 4, 5  # queries of a kind; what is shown of each


class Gallery(NamedTuple):
  """What there is to find.

  Attributes:
    captions: of the split.
    files: of its images, relative to their folder.
    caption_image: i32[n_captions], the image that a caption belongs to.
    cleaning: of the captions, one of `CLEANINGS`.
    show: from (image, what to say of it) to an `<img>`.
  """

  captions: Sequence[str]
  files: Sequence[str]
  caption_image: np.ndarray
  cleaning: str
  show: Callable[[int, str], str]


class Hit(NamedTuple):
  """One of the items that a query found.

  Attributes:
    item: its row.
    rank: from 1 on.
    verdict: `right`, `same words` or `wrong`.
    score: cosine with the query.
  """

  item: int
  rank: int
  verdict: str
  score: float


def choose_queries(
  ranks: np.ndarray, *, seed: int, each: int = EACH
) -> dict[str, np.ndarray]:
  """Rows of queries by how they are chosen; no query twice.

  Args:
    ranks: i64[n], wrong items before the first right one.
    seed: decides among equal ranks, and the random ones.
    each: of a kind, where there are so many.
  """
  rng = np.random.default_rng(seed)
  shuffled = rng.permutation(len(ranks))
  order = shuffled[np.argsort(ranks[shuffled], kind='stable')]
  best, rest = order[:each], order[each:]
  middle = max(len(rest) - each, 0)
  return {
    'best-ranked': best,
    'worst-ranked': rest[middle:][::-1],
    'at random among the others': rng.permutation(rest[:middle])[:each],
  }


def top_hits(scores: np.ndarray, right: np.ndarray, same: np.ndarray) -> list[Hit]:
  """The first `TOP` items, and the best right one where it comes later.

  Among equal scores the right ones come last: ties count against the model, as in
  `evaluation.recall`.

  Args:
    scores: f32[n], higher is more similar.
    right: bool[n], at least one True.
    same: bool[n], items that the words of a caption cannot tell from a right one.
  """
  order = np.lexsort((right, -scores))
  first_right = int(np.argmax(right[order]))
  verdicts = np.where(right, 'right', np.where(same, 'same words', 'wrong'))
  shown = [*range(min(TOP, len(order)))] + [first_right] * (first_right >= TOP)
  return [
    Hit(int(order[k]), k + 1, str(verdicts[order[k]]), float(scores[order[k]]))
    for k in shown
  ]


def queries_section(
  features: Features, ranks: Ranks, gallery: Gallery, *, split: str, seed: int
) -> str:
  """Queries of both directions with what they found.

  Args:
    features: of the split.
    ranks: of its queries.
    gallery: its images and captions.
    split: its name.
    seed: of the choice.
  """
  groups = caption_groups(gallery.captions, cleaning=gallery.cleaning)
  images = np.unique(gallery.caption_image)  # that have a caption
  # Identical captions of one image are one query.
  pairs = np.stack([groups, gallery.caption_image])
  captions = np.unique(pairs, axis=1, return_index=True)[1]
  text = (
    f'Of split {split}, with the selected weights. The queries are not picked by hand: '
    f'of each direction {EACH} with the best rank, {EACH} with the worst and {EACH} at '
    f'random among the others; equal ranks are drawn by lot (seed {seed}), and '
    'identical captions of one image are one query. "Same words" marks what an '
    'identical caption of another image makes indistinguishable; it counts as wrong.'
  )
  return section(
    'Queries',
    paragraph(text),
    _direction(
      'Text to images',
      choose_queries(ranks['t2i'][captions], seed=seed),
      lambda row: _text_card(captions[row], features, gallery, groups),
    ),
    _direction(
      'Image to texts',
      choose_queries(ranks['i2t'], seed=seed),
      lambda row: _image_card(images[row], features, gallery, groups),
    ),
  )


def _direction(
  title: str, chosen: dict[str, np.ndarray], card: Callable[[int], str]
) -> str:
  parts = [
    f'<h4>{len(rows)} {kind}</h4><div class="cards">{"".join(map(card, rows))}</div>'
    for kind, rows in chosen.items()
    if len(rows)
  ]
  return f'<h3>{title}</h3>{"".join(parts)}'


def _text_card(
  row: int, features: Features, gallery: Gallery, groups: np.ndarray
) -> str:
  scores = features.images @ features.texts[features.caption_text[row]]
  n_images = len(gallery.files)
  same = np.isin(np.arange(n_images), gallery.caption_image[groups == groups[row]])
  right = np.arange(n_images) == gallery.caption_image[row]
  hits = top_hits(scores, right, same)
  items = ''.join(_picture_hit(hit, gallery) for hit in hits)
  return (
    f'<article><p class="query">{escape(gallery.captions[row])}</p>'
    f'<p>{_rank_of(hits, "Its image", len(gallery.files))}</p>'
    f'<ol class="hits">{items}</ol></article>'
  )


def _image_card(
  row: int, features: Features, gallery: Gallery, groups: np.ndarray
) -> str:
  scores = (features.texts @ features.images[row])[features.caption_text]
  right = gallery.caption_image == row
  hits = top_hits(scores, right, np.isin(groups, groups[right]))
  items = ''.join(
    f'<li{_class_of(hit)}><b>{_label(hit)}</b> {hit.score:.3f} '
    f'{escape(gallery.captions[hit.item])}</li>'
    for hit in hits
  )
  name = gallery.files[row]
  return (
    f'<article class="beside"><figure>{gallery.show(row, f"query image {name}")}'
    f'<figcaption>{escape(name)}</figcaption></figure>'
    f'<div><p>{_rank_of(hits, "Its first caption", len(gallery.captions))}</p>'
    f'<ol class="texts">{items}</ol></div></article>'
  )


def _picture_hit(hit: Hit, gallery: Gallery) -> str:
  name = gallery.files[hit.item]
  image = gallery.show(hit.item, f'rank {hit.rank}, {hit.verdict}: {name}')
  return (
    f'<li{_class_of(hit)}><figure>{image}<figcaption><b>{_label(hit)}</b> '
    f'{hit.score:.3f}<br><small>{escape(name)}</small></figcaption></figure></li>'
  )


def _rank_of(hits: Sequence[Hit], what: str, total: int) -> str:
  rank = next(hit.rank for hit in hits if hit.verdict == 'right')
  return f'{what} is at rank <b>{rank:,}</b> of {total:,}.'


def _label(hit: Hit) -> str:
  sign = {'right': '✓ right', 'same words': '≈ same words', 'wrong': '✗ wrong'}
  return f'{hit.rank:,}. {sign[hit.verdict]}'


def _class_of(hit: Hit) -> str:
  return ' class="right"' if hit.verdict == 'right' else ''
