"""The weights of a run for others, in every format, with a card."""

import contextlib
import json
import pathlib
import shlex
import shutil
import string

import jax
import numpy as np
import pytest
import safetensors.numpy

from harma_jax.building.model import build_model
from harma_jax.building.params import build_params, read_workdir
from harma_jax.building.step import build_optimizer, build_state
from harma_jax.data.cleaning import CLEANINGS, clean_caption
from harma_jax.errors import UserError
from harma_jax.model.families import SIGLIP
from harma_jax.model.preprocessing import HALVES
from harma_jax.model.sizes import SIZES, Size, TowerSize
from harma_jax.results import export as module
from harma_jax.rundir.checkpoint import Checkpoints
from harma_jax.rundir.workdir import PROVENANCE_FILE, claim, read_config, replace_text
from harma_jax.weights import tokenizer_files
from harma_jax.weights.names import paths_of

ADAPTERS = {
  'model.adapters': 'harma',
  'optimizer.train': 'adapters',
  'train.epochs': 1.0,
}


@pytest.fixture(autouse=True)
def no_vocabulary(monkeypatch):
  """Neither a package nor the network is asked."""
  for source in ('_read_open_clip', '_read_hub'):
    monkeypatch.setattr(tokenizer_files, source, lambda: None)


@pytest.fixture(scope='module')
def adapter_config(small_config, finished_run):
  return small_config(ADAPTERS | {'init': str(finished_run)})


@pytest.fixture(scope='module')
def adapter_run(adapter_config, tmp_path_factory):
  """The folder of a run that adapted the weights of `finished_run`, not yet at its end.

  What training would find is drawn at random.
  """
  return write_run(tmp_path_factory.mktemp('adapted') / 'run', adapter_config)


def write_run(workdir, config):
  model = build_model(config)
  params, record = build_params(config, model, init=config.init)
  optimizer, _ = build_optimizer(config, total_steps=1)
  state = build_state(config, params, optimizer)
  rng = np.random.default_rng(0)
  state = state.replace(
    trainable=jax.tree.map(
      lambda leaf: leaf + rng.normal(0, 0.01, leaf.shape).astype(leaf.dtype),
      state.trainable,
    )
  )
  claim(workdir, config, data={})
  replace_text(workdir / PROVENANCE_FILE, json.dumps(record))
  with contextlib.closing(Checkpoints(workdir)) as checkpoints:
    checkpoints.save(1, state, metrics={'mean_recall': 1.0})
  return workdir


@pytest.fixture(scope='session')
def export():
  """`export(workdir, format, out)`."""

  def make(workdir, format, out, *, overwrite=False):
    module.export(workdir, format=format, out=pathlib.Path(out), overwrite=overwrite)

  return make


def block(card, start):
  """The words of the block of code that begins with `start`."""
  code = card[card.index(start) :].split('```')[0]
  return shlex.split(code.replace('\\\n', ' '))


def assert_equal_trees(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize('format', ['open_clip', 'huggingface'])
def test_a_folder_starts_the_next_run(
  export, small_config, finished_run, tmp_path, format
):
  export(finished_run, format, tmp_path / 'out')
  config = small_config({'init': str(tmp_path / 'out')})
  params, record = build_params(config, build_model(config), init=config.init)
  expected = read_workdir(finished_run)
  # CLIP keeps its temperature in the logit scale.
  assert float(params.pop('logit_scale')) == -np.log(expected['temperature'])
  for tree in (params, expected):
    tree.pop('temperature')
  expected.pop('logit_scale')
  assert_equal_trees(params, expected)
  assert record['format'] == format


@pytest.mark.parametrize('format', ['open_clip', 'adapter'])
def test_the_bias_of_a_sigmoid_loss_has_no_place_in_files_of_clip(
  export, small_config, finished_run, tmp_path, format
):
  fields = ADAPTERS | {'model.adapters': 'lora', 'init': str(finished_run)}
  config = small_config(fields | {'objective.contrastive': 'sigmoid'})
  run = write_run(tmp_path / 'run', config)
  assert read_workdir(run)['logit_bias'] < 0
  export(run, format, tmp_path / 'out')
  again = {'open_clip': {'init': str(tmp_path / 'out')}}.get(
    format, fields | {'adapter': str(tmp_path / 'out')}
  )
  config = small_config(again)
  params, _ = build_params(config, build_model(config), init=config.init)
  assert 'logit_bias' not in params


@pytest.mark.parametrize('format', ['open_clip', 'huggingface'])
def test_lora_is_merged(export, small_config, finished_run, tmp_path, format):
  fields = ADAPTERS | {'model.adapters': 'lora', 'init': str(finished_run)}
  config = small_config(fields)
  run = write_run(tmp_path / 'run', config)
  export(run, format, tmp_path / 'out')
  plain_config = small_config({'init': str(tmp_path / 'out')})
  plain, model = build_model(plain_config), build_model(config)
  merged, _ = build_params(plain_config, plain, init=plain_config.init)
  tokens = np.array([[1, 5, 9, 0], [1, 7, 2, 9]])
  expected = model.encode_text(read_workdir(run), tokens)
  np.testing.assert_allclose(plain.encode_text(merged, tokens), expected, atol=1e-5)
  backbone = plain.encode_text(read_workdir(finished_run), tokens)
  assert np.abs(backbone - expected).max() > 1e-4
  assert 'LoRA merged into its weights' in (tmp_path / 'out/README.md').read_text()


@pytest.mark.parametrize(
  'fields',
  [
    {'model.adapters': 'lora', 'model.lora.alpha': 3.0},
    {'model.adapters': 'adaptformer', 'model.adaptformer.bottleneck': 5},
    {'model.adapters': 'clip_adapter'},
    {'model.adapters': 'harma', 'model.adapter_attention': False},
  ],
)
def test_adapters_of_every_kind_go_onto_their_backbone(
  export, small_config, finished_run, tmp_path, fields
):
  expected = {f'--config.{name}={value}' for name, value in fields.items()}
  fields = ADAPTERS | fields | {'init': str(finished_run)}
  run = write_run(tmp_path / 'run', small_config(fields))
  export(run, 'adapter', tmp_path / 'out')
  config = small_config(fields | {'adapter': str(tmp_path / 'out')})
  params, _ = build_params(config, build_model(config), init=config.init)
  assert_equal_trees(params, read_workdir(run))
  card = (tmp_path / 'out/README.md').read_text()
  words = block(card, 'python -m harma_jax.main --config=common.py --config.i')
  assert expected <= set(words)
  other = small_config({'adapter': config.adapter, 'model.adapters': 'harma'})
  with pytest.raises(UserError, match=r'adapters=|adapter_attention is False there'):
    build_params(other, build_model(other), init=str(finished_run))


@pytest.mark.parametrize(
  ('fields', 'advice'),
  [
    ({'model.adapters': 'adaptformer'}, 'Set --format to one of adapter'),
    ({'model.adapters': 'clip_adapter'}, 'Set --format to one of adapter'),
    ({'model.adapter_attention': False}, 'Set --format to one of adapter'),
    (
      {'model.adapters': 'adaptformer', 'optimizer.train': 'full'},
      r'No format can; .* --config\.init=WORKDIR',
    ),
  ],
)
def test_what_no_other_program_knows_is_not_written_for_it(
  small_config, tmp_path, fields, advice
):
  config = small_config(ADAPTERS | fields)
  for format in ('harma', 'huggingface-remote', 'open_clip', 'huggingface', 'onnx'):
    with pytest.raises(UserError, match=rf'{format}: expected a run .*{advice}'):
      module.check_format(
        format, config=config, model=build_model(config), out=tmp_path
      )


def test_adapters_go_onto_their_backbone(
  export, adapter_config, adapter_run, tmp_path, finished_run
):
  export(adapter_run, 'adapter', tmp_path / 'out')
  model = build_model(adapter_config)
  config = adapter_config.copy_and_resolve_references()
  config.adapter = str(tmp_path / 'out')
  params, record = build_params(config, model, init=str(finished_run))
  assert_equal_trees(params, read_workdir(adapter_run))
  assert record['adapter']['backbone']['provenance']['init'] == str(finished_run)
  without, _ = build_params(adapter_config, model, init=str(finished_run))
  gates = ('text', 'transformer', 'blocks', 'block_gate')
  fresh, trained = without, params
  for key in gates:
    fresh, trained = fresh[key], trained[key]
  assert not np.array_equal(fresh, trained)


def test_adapters_are_refused_by_another_backbone(
  export, adapter_config, adapter_run, tmp_path
):
  export(adapter_run, 'adapter', tmp_path / 'out')
  config = adapter_config.copy_and_resolve_references()
  config.adapter = str(tmp_path / 'out')
  with pytest.raises(UserError, match=r'SHA-256 .*Set --config\.init to the weights'):
    build_params(config, build_model(config), init='')


def test_a_harma_file_lies_beside_its_card(
  export, adapter_config, adapter_run, tmp_path
):
  out = tmp_path / 'weights.safetensors'
  export(adapter_run, 'harma', out)
  files = {path.name for path in tmp_path.iterdir()}
  assert files == {'weights.safetensors', 'weights.safetensors.md'}
  params, _ = build_params(adapter_config, build_model(adapter_config), init=str(out))
  assert_equal_trees(params, read_workdir(adapter_run))
  card = (tmp_path / 'weights.safetensors.md').read_text()
  assert "load_file('weights.safetensors'), strict=True" in card
  assert 'The original HarMA lets adapters see the padding' in card
  words = block(card, 'python -m harma_jax.main --config=common.py --config.i')
  assert '--config.model.shared_adapter=text' in words


def test_a_remote_folder_starts_the_next_run(
  export, adapter_config, adapter_run, tmp_path
):
  export(adapter_run, 'huggingface-remote', tmp_path / 'out')
  model = build_model(adapter_config)
  params, _ = build_params(adapter_config, model, init=str(tmp_path / 'out'))
  assert_equal_trees(params, read_workdir(adapter_run))


def test_a_remote_folder_has_its_code(export, adapter_run, tmp_path):
  export(adapter_run, 'huggingface-remote', tmp_path / 'out')
  files = {path.name for path in (tmp_path / 'out').iterdir()}
  assert files == {
    'README.md',
    'config.json',
    'model.safetensors',
    'modeling_harma.py',
    'preprocessor_config.json',
  }
  config = json.loads((tmp_path / 'out/config.json').read_text())
  assert config['auto_map']['AutoModel'] == 'modeling_harma.HarmaModel'
  card = (tmp_path / 'out/README.md').read_text()
  assert "AutoModel.from_pretrained('out', trust_remote_code=True)" in card
  assert "AutoTokenizer.from_pretrained('out')" in card
  written = safetensors.numpy.load_file(tmp_path / 'out/model.safetensors')
  expected = paths_of(read_workdir(adapter_run))
  assert written['temp'] == expected['temperature']
  assert sum(map(np.size, written.values())) == sum(map(np.size, expected.values()))


def test_the_card_says_what_was_measured_on_what(export, finished_run, tmp_path):
  export(finished_run, 'open_clip', tmp_path / 'out')
  card = (tmp_path / 'out/README.md').read_text()
  assert card.startswith('---\nlibrary_name: open_clip\npipeline_tag: ')
  assert '# license: left to whoever publishes' in card
  assert 'Data set `small`' in card
  assert '| train | 12 images, 24 captions |' in card
  results = json.loads((finished_run / 'results.json').read_text())
  assert f'Step {results["best_step"]} of 6, selected on `val`; seed 0' in card
  for split in ('val', 'test'):
    for row, recall in results['splits'][split].items():
      assert f'| {row} | {recall["i2t_r1"]:.2f} | ' in card
      assert f' | {recall["mean_recall"]:.2f} |' in card
  assert "'local-dir:out'" in card
  assert '"seed": 0' in card


@pytest.mark.parametrize('cleaning', CLEANINGS)
def test_the_card_has_the_code_that_cleans(export, finished_run, tmp_path, cleaning):
  run = shutil.copytree(finished_run, tmp_path / 'run')
  config = json.loads((run / 'config.json').read_text())
  config['data']['cleaning'] = cleaning
  (run / 'config.json').write_text(json.dumps(config))
  export(run, 'open_clip', tmp_path / 'out')
  card = (tmp_path / 'out/README.md').read_text()
  assert f'`data.cleaning={cleaning}`' in card
  assert ('--config.data.cleaning=released' in card) == (cleaning == 'released')
  code = card.split('```python\n')[-1].split('```')[0]
  exec(code, names := {})
  rng = np.random.default_rng(0)
  others = ('\u2019', '\u2014', '&amp;', '&#44;', 'e\u0301', '<person>')
  pieces = [*string.printable, *others]
  for _ in range(500):
    caption = ''.join(rng.choice(pieces, rng.integers(0, 90)))
    assert names['clean'](caption) == clean_caption(caption, cleaning=cleaning)


def test_no_path_of_the_machine_gets_into_a_card(export, adapter_run, tmp_path):
  export(adapter_run, 'adapter', tmp_path / 'out')
  card = (tmp_path / 'out/README.md').read_text()
  assert str(tmp_path.parent) not in card
  assert '"init": "run"' in card
  assert '--config.adapter=out' in card


def test_a_card_without_results_or_data(export, finished_run, tmp_path, caplog):
  shutil.copytree(finished_run, tmp_path / 'run')
  (tmp_path / 'run/results.json').unlink()
  config = read_config(finished_run)
  config.data.root = '/gone'
  (tmp_path / 'run/config.json').write_text(config.to_json())
  export(tmp_path / 'run', 'open_clip', tmp_path / 'out')
  card = (tmp_path / 'out/README.md').read_text()
  assert 'The run has not finished' in card
  assert '| val | not counted |' in card
  assert 'The card lacks the counts of split val' in caplog.text


def test_weights_chosen_on_the_test_split_are_said_to_be(
  export, finished_run, tmp_path
):
  warning = 'CHOSEN ON THE TEST SPLIT'
  export(finished_run, 'open_clip', tmp_path / 'fair')
  assert warning not in (tmp_path / 'fair/README.md').read_text()
  shutil.copytree(finished_run, tmp_path / 'run')
  results = json.loads((finished_run / 'results.json').read_text())
  results['selected_on'] = 'test'
  (tmp_path / 'run/results.json').write_text(json.dumps(results))
  export(tmp_path / 'run', 'open_clip', tmp_path / 'out')
  assert warning in (tmp_path / 'out/README.md').read_text()


def test_data_that_changed_since_are_not_counted(
  export, finished_run, tmp_path, caplog
):
  shutil.copytree(finished_run, tmp_path / 'run')
  prints = json.loads((finished_run / 'data.json').read_text())
  (tmp_path / 'run/data.json').write_text(json.dumps(prints | {'val': 'other'}))
  export(tmp_path / 'run', 'open_clip', tmp_path / 'out')
  card = (tmp_path / 'out/README.md').read_text()
  assert '| val | not counted |' in card
  assert '| test | 6 images, 12 captions |' in card
  assert 'no longer that of the run' in caplog.text


def test_formats_that_do_not_fit_name_those_that_do(
  export, finished_run, adapter_run, tmp_path
):
  fitting = 'Set --format to one of harma, adapter, huggingface-remote, onnx'
  for format in ('open_clip', 'huggingface'):
    with pytest.raises(UserError, match=rf'model\.adapters=harma.*{fitting}'):
      export(adapter_run, format, tmp_path / 'out')
  for format in ('adapter', 'peft', 'huggingface-remote', 'harma'):
    with pytest.raises(UserError, match='Set --format to one of open_clip, huggingf'):
      export(finished_run, format, tmp_path / 'out')
  with pytest.raises(UserError, match=r'one of harma, adapter, .*found tflite'):
    export(finished_run, 'tflite', tmp_path / 'out')
  assert not list(tmp_path.iterdir())


def test_adapters_of_a_backbone_that_trained_too_are_not_exported_alone(
  export, adapter_run, tmp_path
):
  shutil.copytree(adapter_run, tmp_path / 'run')
  config = read_config(adapter_run)
  config.optimizer.train = 'full'
  (tmp_path / 'run/config.json').write_text(config.to_json())
  with pytest.raises(UserError, match=r'optimizer\.train=full.* one of harma, hug'):
    export(tmp_path / 'run', 'adapter', tmp_path / 'out')


def test_what_is_there_stays_unless_it_is_to_be_overwritten(
  export, finished_run, adapter_run, tmp_path
):
  export(finished_run, 'open_clip', tmp_path / 'out')
  with pytest.raises(UserError, match='is there already'):
    export(finished_run, 'huggingface', tmp_path / 'out')
  export(finished_run, 'huggingface', tmp_path / 'out', overwrite=True)
  assert (tmp_path / 'out/config.json').is_file()
  assert not (tmp_path / 'out/open_clip_config.json').exists()
  (tmp_path / 'w.safetensors.md').write_text('mine')
  with pytest.raises(UserError, match=r'w\.safetensors\.md is there already'):
    export(adapter_run, 'harma', tmp_path / 'w.safetensors')


def test_the_kind_of_path_must_fit(export, finished_run, adapter_run, tmp_path):
  with pytest.raises(UserError, match=r'a file: \.safetensors or \.pth.*found .*/out'):
    export(adapter_run, 'harma', tmp_path / 'out')
  with pytest.raises(UserError, match='a folder for --format=open_clip'):
    export(finished_run, 'open_clip', tmp_path / 'out.safetensors')


def test_a_run_without_saved_steps_is_named(finished_run, tmp_path, export):
  shutil.copy(finished_run / 'config.json', tmp_path)
  with pytest.raises(UserError, match=f'saved steps; found none in {tmp_path}'):
    export(tmp_path, 'open_clip', tmp_path / 'out')


@pytest.fixture
def siglip_config(small_config, monkeypatch):
  """`siglip_config(kind)`: of a run of a toy SigLIP with adapters of a kind."""
  tower = TowerSize(width=16, layers=2, heads=2, mlp_width=40)
  size = Size(
    image=tower,
    text=tower,
    image_size=16,
    patch_size=8,
    embedding=16,
    activation='gelu_tanh',
    context_length=8,
    vocabulary=60,
    family=SIGLIP,
    logit_bias=True,
    preprocessing=HALVES,
  )
  monkeypatch.setitem(SIZES, 'toy-siglip', size)

  def make(kind, **changes):
    train = 'full' if kind == 'none' else 'adapters'
    fields = {'model.size': 'toy-siglip', 'model.adapters': kind}
    return small_config(fields | {'optimizer.train': train} | changes)

  return make


@pytest.mark.parametrize(
  ('kind', 'format', 'said'),
  [
    ('none', 'huggingface', 'SiglipModel.from_pretrained'),
    ('lora', 'huggingface', 'LoRA merged into its weights'),
    ('harma', 'huggingface-remote', 'filled up\nto 8 tokens, as in the tokenizer'),
  ],
)
def test_a_run_of_a_siglip_starts_the_next_one(
  export, siglip_config, tmp_path, kind, format, said
):
  config = siglip_config(kind)
  run = write_run(tmp_path / 'run', config)
  (run / 'tokenizer').mkdir()
  (run / 'tokenizer/tokenizer.json').write_text('words')
  export(run, format, tmp_path / 'out')
  assert (tmp_path / 'out/tokenizer.json').read_text() == 'words'
  card = (tmp_path / 'out/README.md').read_text()
  assert said in card
  assert '# out\n\nSigLIP toy-siglip ' in card
  assert 'image-text-retrieval, siglip]' in card
  assert 'mean (0.5, 0.5, 0.5)' in card
  start = siglip_config('harma' if kind == 'harma' else 'none')
  init = str(tmp_path / 'out')
  params, record = build_params(start, build_model(start), init=init)
  assert record['format'] == {
    'huggingface': 'huggingface_siglip',
    'huggingface-remote': 'harma_siglip',
  }.get(format)
  model, tokens = build_model(config), np.arange(16).reshape(2, 8)
  expected = model.encode_text(read_workdir(run), tokens)
  found = build_model(start).encode_text(params, tokens)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_formats_of_clips_alone_are_refused_for_a_siglip(
  export, siglip_config, tmp_path
):
  run = write_run(tmp_path / 'run', siglip_config('harma'))
  with pytest.raises(UserError, match=r'model.size=toy-siglip.*one of adapter, hugg'):
    export(run, 'harma', tmp_path / 'out.safetensors')
  run = write_run(tmp_path / 'plain', siglip_config('none'))
  with pytest.raises(UserError, match=r'image tower of SigLIP that timm has.*=hugging'):
    export(run, 'open_clip', tmp_path / 'out')
  assert not (tmp_path / 'out').exists()
