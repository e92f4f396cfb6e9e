"""What a run is: its method, data and starting weights, and what speaks against it."""

from collections.abc import Mapping, Sequence

from flax import traverse_util

from harma_jax.evaluation.recall import Recall
from harma_jax.model.sizes import named_size
from harma_jax.reporting.page import escape, paragraph, section, table
from harma_jax.reporting.recalls import step_of
from harma_jax.rundir.workdir import without_paths
from harma_jax.weights.card import KINDS

_TRAINED = {
  'adapters': 'the adapters and the scalars of the loss',
  'full': 'all weights',
  'none': 'nothing',
  'projection': 'the two projections and the scalars of the loss',
}


def overview_section(
  fields: Mapping, *, provenance: Mapping, results: Mapping, counts: Mapping[str, str]
) -> str:
  """The run in short, its starting weights, and all fields of its config.

  Args:
    fields: of the config, by dotted name.
    provenance: of the starting weights; empty where nothing was recorded.
    results: as in `results.json`; empty where the run has not ended.
    counts: split -> what it holds, in words; of some or none.
  """
  short = table(in_short(fields, results=results, counts=counts).items())
  rows = [(name, str(value)) for name, value in without_paths(dict(fields)).items()]
  config = table(rows, header=('field', 'value'))
  return section(
    'The run',
    short,
    '<h3>Starting weights</h3>',
    _provenance(provenance, is_pretrained=_is_pretrained(fields)),
    f'<details><summary>All {len(rows)} fields of its config</summary>{config}'
    '</details>',
  )


def in_short(fields: Mapping, *, results: Mapping, counts: Mapping[str, str]) -> dict:
  """What a reader asks first, in words."""
  style = fields.get('data.scenes.style')
  name = str(fields['data.root']).rstrip('/').rpartition('/')[2]
  data = f'drawn scenes of {style}' if style else name
  held = '; '.join(f'{split}{count}' for split, count in counts.items())
  harmonization = fields['harmonization.pair']
  if harmonization != 'none':
    harmonization += f', curriculum {fields["harmonization.curriculum"]}'
  size = str(fields['model.size'])
  return {
    'method': f'{named_size(size).family.name} {KINDS[fields["model.adapters"]]}',
    'trained': _TRAINED[fields['optimizer.train']],
    'contrastive loss': str(fields['objective.contrastive']),
    'model': size,
    'harmonization': 'off' if harmonization == 'none' else harmonization,
    'data': f'{data} ({held})' if held else data,
    'training': _training(fields),
    'seed': str(fields['seed']),
    'step': _selected(results),
  }


def _training(fields: Mapping) -> str:
  if fields['optimizer.train'] == 'none':
    return 'none'
  return (
    f'{fields["train.epochs"]:g} epochs in batches of '
    f'{fields["train.batch_size"]:,}, learning rate '
    f'{fields["optimizer.learning_rate"]:g} ({fields["optimizer.schedule"]})'
  )


def _selected(results: Mapping) -> str:
  if not results:
    return 'the run has not ended'
  return (
    f'{results["best_step"]:,} of {results["steps"]:,}, selected on '
    f'{results["selected_on"]}'
  )


def _provenance(provenance: Mapping, *, is_pretrained: bool) -> str:
  if not provenance:
    return paragraph('Not recorded: the folder has no provenance.json.')
  flat = traverse_util.flatten_dict(without_paths(dict(provenance)), sep='.')
  rows = [(name, str(value)) for name, value in flat.items()]
  text = (
    'Trained by the same command before, with the fields of the config that begin with '
    'pretrain; --workdir=RUN/pretrain makes a report of that.'
  )
  record = table([(name, value or 'none') for name, value in rows])
  return (paragraph(text) if is_pretrained else '') + record


def caution_section(notes: Sequence[str]) -> str:
  """What a reader must know before the numbers."""
  items = ''.join(f'<li>{escape(note, most=1000)}</li>' for note in notes)
  return (
    f'<section class="caution"><h2>Before you trust it</h2><ul>{items}</ul></section>'
  )


def cautions(
  fields: Mapping,
  *,
  provenance: Mapping,
  results: Mapping,
  splits: Mapping[str, Mapping[str, Recall]],
  skipped: int,
) -> list[str]:
  """Sentences on what limits the run's numbers.

  Args:
    fields: of the config, by dotted name.
    provenance: of the starting weights.
    results: as in `results.json`; empty where the run has not ended.
    splits: split -> row -> recalls.
    skipped: steps whose loss or gradient was not finite.
  """
  seed = f'One run with one seed ({fields["seed"]}): no spread over seeds is shown.'
  return [
    seed,
    *limits(
      fields, provenance=provenance, results=results, splits=splits, skipped=skipped
    ),
  ]


def limits(
  fields: Mapping,
  *,
  provenance: Mapping,
  results: Mapping,
  splits: Mapping[str, Mapping[str, Recall]],
  skipped: int,
) -> list[str]:
  """As `cautions`, without what is said of the seed."""
  notes = []
  selecting = fields['evaluation.select_on']
  if selecting == 'test':
    notes.append(
      'The step was CHOSEN ON THE TEST SPLIT: its recall there is biased upwards.'
    )
  elif fields['data.val_split']:
    other = (
      'that of test was measured once, after the choice.'
      if fields['data.test_split']
      else 'no other split was evaluated.'
    )
    notes.append(
      f'The recall on {selecting} chose the step and is biased upwards by it; {other}'
    )
  else:
    notes.append('There is no validation split: the last step was taken.')
  if not results:
    notes.append('The run has not ended: its tables hold what was measured so far.')
  if fields['data.hold_out']:
    share = f'{100 * fields["data.hold_out"]:g} %'
    notes.append(
      f'{share} of the training images were held out for validation, chosen by their '
      'names.'
    )
  if fields['data.swap_captions']:
    share = f'{100 * fields["data.swap_captions"]:g} %'
    notes.append(
      f'{share} of the training captions were swapped on purpose, for study.'
    )
  if not fields['init'] and not _is_pretrained(fields):
    notes.append('The run started from random weights, not from a trained CLIP.')
  if skipped:
    notes.append(f'{skipped:,} steps were skipped: loss or gradient was not finite.')
  return notes + _of_recalls(splits) + _of_weights(provenance)


def _is_pretrained(fields: Mapping) -> bool:
  """Whether the run began with one that trained its starting weights."""
  return any(name.startswith('pretrain.') for name in fields)


def _of_weights(provenance: Mapping) -> list[str]:
  """The notes of the starting weights, and of those that they started from."""
  notes = []
  while provenance:
    notes += provenance.get('notes', [])
    provenance = provenance.get('run', {})
  return notes


def _of_recalls(splits: Mapping[str, Mapping[str, Recall]]) -> list[str]:
  notes = []
  for split, rows in splits.items():
    recalls = {name: row['mean_recall'] for name, row in rows.items()}
    after = [value for name, value in recalls.items() if step_of(name)]
    if after and after[0] <= recalls.get('step 0', -1.0):
      notes.append(f'On {split} training did not raise the mean recall.')
    if after and after[0] < 2 * recalls.get('chance', 0.0):
      notes.append(f'On {split} the mean recall is below twice that of chance.')
  return notes
