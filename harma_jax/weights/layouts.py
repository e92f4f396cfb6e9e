"""How other programs name the weights of both families, and lay them out."""

import dataclasses

from harma_jax.model.families import CLIP, SIGLIP, Family

# Of Long-CLIP's two tables of positions, how many rows count of the first.
KEPT_POSITIONS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """How a program names the weights of a family, and how it lays them out.

  Attributes:
    outside: our path -> their names, for what is in no block; several where ours holds
      theirs side by side along its last axis.
    blocks: tower -> what the names of its blocks begin with, the layer at `{}`.
    block: our path within a block -> their names, several likewise.
    text_block: the same of the text tower, where it has others; None: it has not.
    family: of the models.
    transposed: our paths whose matrices they keep transposed, besides kernels.
    keeps_kernels: whether kernels are laid out as ours, [inputs, outputs] and for
      patches [p, p, 3, outputs]; else as PyTorch has them.
    leading: our path -> axes of length 1 that theirs has before ours.
    shares: our path -> how wide the several parts are, where they are not equally wide.
    upper: our path -> rows that count of the first of two tables of equal size, where
      the rest of them come from the second.
  """

  outside: dict[str, tuple[str, ...]]
  blocks: dict[str, str]
  block: dict[str, tuple[str, ...]]
  text_block: dict[str, tuple[str, ...]] | None = None
  family: Family = CLIP
  transposed: frozenset[str] = frozenset()
  keeps_kernels: bool = False
  leading: dict[str, int] = dataclasses.field(default_factory=dict)
  shares: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
  upper: dict[str, int] = dataclasses.field(default_factory=dict)

  def block_of(self, tower: str) -> dict[str, tuple[str, ...]]:
    """The names within the blocks of a tower."""
    return self.text_block if tower == 'text' and self.text_block else self.block


_DENSE = {'kernel': 'weight', 'bias': 'bias'}
_NORM = {'scale': 'weight', 'bias': 'bias'}
_ATTENTION = {
  'qkv/kernel': 'in_proj_weight',
  'qkv/bias': 'in_proj_bias',
  'out/kernel': 'out_proj.weight',
  'out/bias': 'out_proj.bias',
}


def _under(
  ours: str, theirs: str, names: dict[str, str], *, joint: str = '.'
) -> dict[str, str]:
  return {f'{ours}/{mine}': f'{theirs}{joint}{name}' for mine, name in names.items()}


def _single(names: dict[str, str]) -> dict[str, tuple[str, ...]]:
  return {mine: (name,) for mine, name in names.items()}


_OPEN_CLIP_BLOCK = _single(
  {
    **_under('ln_1', 'ln_1', _NORM),
    **_under('attention', 'attn', _ATTENTION),
    **_under('ln_2', 'ln_2', _NORM),
    **_under('mlp/up', 'mlp.c_fc', _DENSE),
    **_under('mlp/down', 'mlp.c_proj', _DENSE),
  }
)
_OPEN_CLIP = Layout(
  outside=_single(
    {
      'image/class_embedding': 'visual.class_embedding',
      'image/position_embedding': 'visual.positional_embedding',
      'image/patch_embedding/kernel': 'visual.conv1.weight',
      **_under('image/ln_pre', 'visual.ln_pre', _NORM),
      **_under('image/ln_post', 'visual.ln_post', _NORM),
      'image/projection': 'visual.proj',
      'text/token_embedding': 'token_embedding.weight',
      'text/position_embedding': 'positional_embedding',
      **_under('text/ln_final', 'ln_final', _NORM),
      'text/projection': 'text_projection',
      'logit_scale': 'logit_scale',
    }
  ),
  blocks={
    'image': 'visual.transformer.resblocks.{}.',
    'text': 'transformer.resblocks.{}.',
  },
  block=_OPEN_CLIP_BLOCK,
)
# OpenCLIP's names; the text's positions beyond the first stand in a table of their own.
_LONG_CLIP = dataclasses.replace(
  _OPEN_CLIP,
  outside=_OPEN_CLIP.outside
  | {'text/position_embedding': ('positional_embedding', 'positional_embedding_res')},
  upper={'text/position_embedding': KEPT_POSITIONS},
)
_SHARED = {
  'shared_gate': 'gate1',
  **_under('down', 'l1', _DENSE),
  **_under('attention', 'multihead_attention1', _ATTENTION),
  **_under('up', 'l2', _DENSE),
}
# OpenCLIP's names behind `model.`, its adapters beside, and its own temperature.
_HARMA = Layout(
  outside={
    **{path: (f'model.{name}',) for path, (name,) in _OPEN_CLIP.outside.items()},
    'temperature': ('temp',),
  },
  blocks={tower: f'model.{name}' for tower, name in _OPEN_CLIP.blocks.items()},
  block={
    **_OPEN_CLIP.block,
    **_single(
      {
        'block_gate': 'gate1',
        'adapter/adapter_gate': 'mmadapter.gate1',
        **_under('adapter/down', 'mmadapter.img_proj_down', _DENSE),
        **_under('adapter/attention', 'mmadapter.multihead_attention', _ATTENTION),
        **_under('adapter/up', 'mmadapter.img_proj_up', _DENSE),
        **{
          f'shared_adapter/{path}': f'mmadapter.BiShareAdapterxx.{name}'
          for path, name in _SHARED.items()
        },
      }
    ),
  },
)
_HUGGING_FACE = Layout(
  outside=_single(
    {
      'image/class_embedding': 'vision_model.embeddings.class_embedding',
      'image/position_embedding': 'vision_model.embeddings.position_embedding.weight',
      'image/patch_embedding/kernel': 'vision_model.embeddings.patch_embedding.weight',
      # The library spells it so.
      **_under('image/ln_pre', 'vision_model.pre_layrnorm', _NORM),
      **_under('image/ln_post', 'vision_model.post_layernorm', _NORM),
      'image/projection': 'visual_projection.weight',
      'text/token_embedding': 'text_model.embeddings.token_embedding.weight',
      'text/position_embedding': 'text_model.embeddings.position_embedding.weight',
      **_under('text/ln_final', 'text_model.final_layer_norm', _NORM),
      'text/projection': 'text_projection.weight',
      'logit_scale': 'logit_scale',
    }
  ),
  blocks={
    'image': 'vision_model.encoder.layers.{}.',
    'text': 'text_model.encoder.layers.{}.',
  },
  block={
    **{
      f'attention/qkv/{mine}': tuple(f'self_attn.{part}_proj.{name}' for part in 'qkv')
      for mine, name in _DENSE.items()
    },
    **_single(
      {
        **_under('ln_1', 'layer_norm1', _NORM),
        **_under('attention/out', 'self_attn.out_proj', _DENSE),
        **_under('ln_2', 'layer_norm2', _NORM),
        **_under('mlp/up', 'mlp.fc1', _DENSE),
        **_under('mlp/down', 'mlp.fc2', _DENSE),
      }
    ),
  },
  transposed=frozenset({'image/projection', 'text/projection'}),
)
_PROBE = 'image/pooling/probe'
_HUGGING_FACE_SIGLIP = Layout(
  outside=_single(
    {
      'image/position_embedding': 'vision_model.embeddings.position_embedding.weight',
      **_under(
        'image/patch_embedding', 'vision_model.embeddings.patch_embedding', _DENSE
      ),
      **_under('image/ln_post', 'vision_model.post_layernorm', _NORM),
      _PROBE: 'vision_model.head.probe',
      **_under('image/pooling/attention', 'vision_model.head.attention', _ATTENTION),
      **_under('image/pooling/ln', 'vision_model.head.layernorm', _NORM),
      **_under('image/pooling/mlp/up', 'vision_model.head.mlp.fc1', _DENSE),
      **_under('image/pooling/mlp/down', 'vision_model.head.mlp.fc2', _DENSE),
      'text/token_embedding': 'text_model.embeddings.token_embedding.weight',
      'text/position_embedding': 'text_model.embeddings.position_embedding.weight',
      **_under('text/ln_final', 'text_model.final_layer_norm', _NORM),
      **_under('text/head', 'text_model.head', _DENSE),
      'logit_scale': 'logit_scale',
      'logit_bias': 'logit_bias',
    }
  ),
  blocks=_HUGGING_FACE.blocks,
  block=_HUGGING_FACE.block,
  family=SIGLIP,
  leading={_PROBE: 2, 'logit_scale': 1, 'logit_bias': 1},
)
_TRUNK = 'visual.trunk'
_POOL = f'{_TRUNK}.attn_pool'
_OPEN_CLIP_SIGLIP = Layout(
  outside={
    **{
      f'image/pooling/attention/qkv/{mine}': (f'{_POOL}.q.{name}', f'{_POOL}.kv.{name}')
      for mine, name in _DENSE.items()
    },
    **_single(
      {
        'image/position_embedding': f'{_TRUNK}.pos_embed',
        **_under('image/patch_embedding', f'{_TRUNK}.patch_embed.proj', _DENSE),
        **_under('image/ln_post', f'{_TRUNK}.norm', _NORM),
        _PROBE: f'{_POOL}.latent',
        **_under('image/pooling/attention/out', f'{_POOL}.proj', _DENSE),
        **_under('image/pooling/ln', f'{_POOL}.norm', _NORM),
        **_under('image/pooling/mlp/up', f'{_POOL}.mlp.fc1', _DENSE),
        **_under('image/pooling/mlp/down', f'{_POOL}.mlp.fc2', _DENSE),
        'text/token_embedding': 'text.token_embedding.weight',
        'text/position_embedding': 'text.positional_embedding',
        **_under('text/ln_final', 'text.ln_final', _NORM),
        **_under('text/head', 'text.text_projection', _DENSE),
        'logit_scale': 'logit_scale',
        'logit_bias': 'logit_bias',
      }
    ),
  },
  blocks={
    'image': f'{_TRUNK}.blocks.{{}}.',
    'text': 'text.transformer.resblocks.{}.',
  },
  block=_single(
    {
      **_under('ln_1', 'norm1', _NORM),
      **_under('attention/qkv', 'attn.qkv', _DENSE),
      **_under('attention/out', 'attn.proj', _DENSE),
      **_under('ln_2', 'norm2', _NORM),
      **_under('mlp/up', 'mlp.fc1', _DENSE),
      **_under('mlp/down', 'mlp.fc2', _DENSE),
    }
  ),
  text_block=_OPEN_CLIP_BLOCK,
  family=SIGLIP,
  leading={'image/position_embedding': 1, _PROBE: 2},
  shares={
    'image/pooling/attention/qkv/kernel': (1, 2),
    'image/pooling/attention/qkv/bias': (1, 2),
  },
)
# HarMA on SigLIP, of which there is no original: the names go on as those of `_HARMA`.
_HARMA_POOL = 'model.visual.attn_pool'
_HARMA_SIGLIP = dataclasses.replace(
  _HARMA,
  outside=_single(
    {
      'image/position_embedding': 'model.visual.positional_embedding',
      **_under('image/patch_embedding', 'model.visual.conv1', _DENSE),
      **_under('image/ln_post', 'model.visual.ln_post', _NORM),
      _PROBE: f'{_HARMA_POOL}.probe',
      **_under('image/pooling/attention', f'{_HARMA_POOL}.attn', _ATTENTION),
      **_under('image/pooling/ln', f'{_HARMA_POOL}.ln', _NORM),
      **_under('image/pooling/mlp/up', f'{_HARMA_POOL}.mlp.c_fc', _DENSE),
      **_under('image/pooling/mlp/down', f'{_HARMA_POOL}.mlp.c_proj', _DENSE),
      'text/token_embedding': 'model.token_embedding.weight',
      'text/position_embedding': 'model.positional_embedding',
      **_under('text/ln_final', 'model.ln_final', _NORM),
      **_under('text/head', 'model.text_projection', _DENSE),
      'logit_scale': 'model.logit_scale',
      'logit_bias': 'model.logit_bias',
      'temperature': 'temp',
    }
  ),
  family=SIGLIP,
)
# Of the files .npz, once `big_vision.plain` has made matrices of what it keeps by head.
_AS_OURS = {'kernel': 'kernel', 'bias': 'bias'}
_NORM_AS_OURS = {'scale': 'scale', 'bias': 'bias'}
_HEADS = 'MultiHeadDotProductAttention_0'


def _big_vision(ours: str, theirs: str, names: dict[str, str]) -> dict[str, str]:
  return _under(ours, theirs, names, joint='/')


def _big_vision_attention(ours: str, theirs: str) -> dict[str, tuple[str, ...]]:
  parts = ('query', 'key', 'value')
  return {
    **{
      f'{ours}/qkv/{name}': tuple(f'{theirs}/{part}/{name}' for part in parts)
      for name in _AS_OURS
    },
    **_single(_big_vision(f'{ours}/out', f'{theirs}/out', _AS_OURS)),
  }


_IMAGE, _TEXT, _MAP = 'params/img', 'params/txt', 'params/img/MAPHead_0'
_BIG_VISION = Layout(
  outside={
    **_big_vision_attention('image/pooling/attention', f'{_MAP}/{_HEADS}'),
    **_single(
      {
        'image/position_embedding': f'{_IMAGE}/pos_embedding',
        **_big_vision('image/patch_embedding', f'{_IMAGE}/embedding', _AS_OURS),
        **_big_vision(
          'image/ln_post', f'{_IMAGE}/Transformer/encoder_norm', _NORM_AS_OURS
        ),
        _PROBE: f'{_MAP}/probe',
        **_big_vision('image/pooling/ln', f'{_MAP}/LayerNorm_0', _NORM_AS_OURS),
        **_big_vision('image/pooling/mlp/up', f'{_MAP}/MlpBlock_0/Dense_0', _AS_OURS),
        **_big_vision('image/pooling/mlp/down', f'{_MAP}/MlpBlock_0/Dense_1', _AS_OURS),
        'text/token_embedding': f'{_TEXT}/Embed_0/embedding',
        'text/position_embedding': f'{_TEXT}/pos_embedding',
        **_big_vision(
          'text/ln_final', f'{_TEXT}/Encoder_0/encoder_norm', _NORM_AS_OURS
        ),
        **_big_vision('text/head', f'{_TEXT}/head', _AS_OURS),
        'logit_scale': 'params/t',
        'logit_bias': 'params/b',
      }
    ),
  },
  blocks={
    'image': f'{_IMAGE}/Transformer/encoderblock_{{}}/',
    'text': f'{_TEXT}/Encoder_0/encoderblock_{{}}/',
  },
  block={
    **_big_vision_attention('attention', _HEADS),
    **_single(
      {
        **_big_vision('ln_1', 'LayerNorm_0', _NORM_AS_OURS),
        **_big_vision('ln_2', 'LayerNorm_1', _NORM_AS_OURS),
        **_big_vision('mlp/up', 'MlpBlock_0/Dense_0', _AS_OURS),
        **_big_vision('mlp/down', 'MlpBlock_0/Dense_1', _AS_OURS),
      }
    ),
  },
  family=SIGLIP,
  keeps_kernels=True,
  leading={
    'image/position_embedding': 1,
    'text/position_embedding': 1,
    _PROBE: 2,
    'logit_scale': 1,
    'logit_bias': 1,
  },
)
LAYOUTS = {
  'open_clip': _OPEN_CLIP,
  'harma': _HARMA,
  'huggingface': _HUGGING_FACE,
  'long_clip': _LONG_CLIP,
  'huggingface_siglip': _HUGGING_FACE_SIGLIP,
  'open_clip_siglip': _OPEN_CLIP_SIGLIP,
  'harma_siglip': _HARMA_SIGLIP,
  'big_vision': _BIG_VISION,
}
