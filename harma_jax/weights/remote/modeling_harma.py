"""HarMA (arXiv 2404.18253) for transformers: multimodal gated adapters.

They are in the blocks of a CLIP or of a SigLIP of a fixed side (arXiv 2303.15343).

It lies beside its weights: `AutoModel.from_pretrained(folder, trust_remote_code=True)`.
"""

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.models.clip.modeling_clip import CLIPOutput

CHOICES = {
  'family': ('clip', 'siglip'),
  'activation': ('gelu', 'gelu_tanh', 'quick_gelu'),
  'text_activation': ('', 'gelu', 'gelu_tanh', 'quick_gelu'),
  'shared_adapter': ('text', 'both', 'none'),
  'adapter_padding': ('none', 'padding'),
}


class HarmaConfig(PretrainedConfig):
  """Shapes and switches; the defaults are ViT-B/32 as HarMA's released code has it.

  `shared_adapter`: the towers that use the shared adapters. `adapter_padding`: whether
  adapters attend to all positions of a caption (`none`) or up to its end (`padding`); a
  SigLIP's towers and adapters always see all. `image_mlp_width`, `text_mlp_width`: 0
  for 4 times as wide as the tower; `text_activation`: empty for that of images.
  """

  model_type = 'harma'

  family: str = 'clip'
  image_size: int = 224
  patch_size: int = 32
  image_width: int = 768
  image_layers: int = 12
  image_heads: int = 12
  image_mlp_width: int = 0
  text_width: int = 512
  text_layers: int = 12
  text_heads: int = 8
  text_mlp_width: int = 0
  embedding: int = 512
  context_length: int = 77
  vocabulary: int = 49408
  activation: str = 'gelu'
  text_activation: str = ''
  bottleneck: int = 128
  shared_bottleneck: int = 64
  adapter_heads: int = 8
  shared_adapter: str = 'text'
  adapter_padding: str = 'none'
  # Whatever its name says, transformers ties shared adapters only where this is set.
  tie_word_embeddings: bool = True


def activation_of(config, tower):
  """The module of an activation, by the name that it has here."""
  name = config.text_activation if tower == 'text' else ''
  name = name or config.activation
  return ACT2FN['gelu_pytorch_tanh' if name == 'gelu_tanh' else name]


def norm_of(config, width):
  """A layer normalisation of the family's epsilon."""
  return nn.LayerNorm(width, eps=1e-5 if config.family == 'clip' else 1e-6)


def mlp_of(config, tower):
  """The two layers of a tower's blocks, with an activation between them."""
  width = getattr(config, f'{tower}_width')
  inner = getattr(config, f'{tower}_mlp_width') or 4 * width
  mlp = nn.Sequential()
  mlp.c_fc = nn.Linear(width, inner)
  mlp.activation = activation_of(config, tower)
  mlp.c_proj = nn.Linear(inner, width)
  return mlp


class Attention(nn.MultiheadAttention):
  """Self-attention on [B, L, width]; in the masks, True marks what is not seen."""

  def __init__(self, width, heads):
    super().__init__(width, heads, batch_first=True)

  def forward(self, x, *, causal=None, padding=None):
    masks = {'attn_mask': causal, 'key_padding_mask': padding}
    return super().forward(x, x, x, need_weights=False, **masks)[0]


class SharedAdapter(nn.Module):
  """`S(a) = a + W2(gamma MHA(y) + (1 - gamma) y)`, `y = W1 a`."""

  def __init__(self, config):
    super().__init__()
    outer, inner = config.bottleneck, config.shared_bottleneck
    self.gate1 = nn.Parameter(torch.empty(()))
    self.l1 = nn.Linear(outer, inner)
    self.multihead_attention1 = Attention(inner, config.adapter_heads)
    self.l2 = nn.Linear(inner, outer)

  def forward(self, a, padding):
    y = self.l1(a)
    attended = self.multihead_attention1(y, padding=padding)
    return a + self.l2(y + self.gate1.sigmoid() * (attended - y))


class Adapter(nn.Module):
  """`A(h) - h = W_up(beta z + (1 - beta) a)`; the same attention runs twice."""

  def __init__(self, config, tower):
    super().__init__()
    width = getattr(config, f'{tower}_width')
    self.gate1 = nn.Parameter(torch.empty(()))
    self.img_proj_down = nn.Linear(width, config.bottleneck)
    self.multihead_attention = Attention(config.bottleneck, config.adapter_heads)
    shares = config.shared_adapter in (tower, 'both')
    self.BiShareAdapterxx = SharedAdapter(config) if shares else None
    self.img_proj_up = nn.Linear(config.bottleneck, width)

  def forward(self, h, padding):
    z = nn.functional.gelu(self.img_proj_down(h))
    a = self.multihead_attention(z, padding=padding)
    if self.BiShareAdapterxx is not None:
      a = self.BiShareAdapterxx(a, padding)
    a = self.multihead_attention(a, padding=padding)
    return self.img_proj_up(a + self.gate1.sigmoid() * (z - a))


class Block(nn.Module):
  """`x += MHA(LN(x)); m = MLP(LN(x)); x += m + sigmoid(gate1) (A(m) - m)`."""

  def __init__(self, config, tower):
    super().__init__()
    width = getattr(config, f'{tower}_width')
    self.ln_1 = norm_of(config, width)
    self.attn = Attention(width, getattr(config, f'{tower}_heads'))
    self.ln_2 = norm_of(config, width)
    self.mlp = mlp_of(config, tower)
    self.gate1 = nn.Parameter(torch.empty(()))
    self.mmadapter = Adapter(config, tower)

  def forward(self, x, causal, padding):
    x = x + self.attn(self.ln_1(x), causal=causal)
    m = self.mlp(self.ln_2(x))
    return x + (m + self.gate1.sigmoid() * self.mmadapter(m, padding))


class Transformer(nn.Module):
  """The blocks of a tower, `image` or `text`, one after the other."""

  def __init__(self, config, tower):
    super().__init__()
    layers = range(getattr(config, f'{tower}_layers'))
    self.resblocks = nn.ModuleList(Block(config, tower) for _ in layers)

  def forward(self, x, *, causal=None, padding=None):
    for block in self.resblocks:
      x = block(x, causal, padding)
    return x


class ImageTower(nn.Module):
  """f32[B, 3, H, W] to [B, D], not unit: the class token's output is projected."""

  def __init__(self, config):
    super().__init__()
    width, patch = config.image_width, config.patch_size
    positions = (config.image_size // patch) ** 2 + 1
    self.class_embedding = nn.Parameter(torch.empty(width))
    self.positional_embedding = nn.Parameter(torch.empty(positions, width))
    self.proj = nn.Parameter(torch.empty(width, config.embedding))
    self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
    self.ln_pre = norm_of(config, width)
    self.transformer = Transformer(config, 'image')
    self.ln_post = norm_of(config, width)

  def forward(self, pixel_values):
    x = self.conv1(pixel_values.to(self.proj.dtype)).flatten(2).transpose(1, 2)
    x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x], dim=1)
    x = self.transformer(self.ln_pre(x + self.positional_embedding))
    return self.ln_post(x[:, 0]) @ self.proj


class AttentionPool(nn.Module):
  """One learned query of all rows, `y = MHA(probe, x)`, then `y + MLP(LN(y))`."""

  def __init__(self, config):
    super().__init__()
    width = config.image_width
    self.probe = nn.Parameter(torch.empty(width))
    self.attn = nn.MultiheadAttention(width, config.image_heads, batch_first=True)
    self.ln = norm_of(config, width)
    self.mlp = mlp_of(config, 'image')

  def forward(self, x):
    probe = self.probe.expand(x.shape[0], 1, -1)
    y = self.attn(probe, x, x, need_weights=False)[0]
    return (y + self.mlp(self.ln(y)))[:, 0]


class SiglipImageTower(nn.Module):
  """f32[B, 3, H, W] to [B, D], not unit; pixels beyond the last patch are not seen."""

  def __init__(self, config):
    super().__init__()
    width, patch = config.image_width, config.patch_size
    positions = (config.image_size // patch) ** 2
    self.positional_embedding = nn.Parameter(torch.empty(positions, width))
    self.conv1 = nn.Conv2d(3, width, patch, stride=patch)
    self.transformer = Transformer(config, 'image')
    self.ln_post = norm_of(config, width)
    self.attn_pool = AttentionPool(config)

  def forward(self, pixel_values):
    pixels = pixel_values.to(self.conv1.weight.dtype)
    x = self.conv1(pixels).flatten(2).transpose(1, 2) + self.positional_embedding
    return self.attn_pool(self.ln_post(self.transformer(x)))


class Towers(nn.Module):
  """The image tower, `visual`, and the text tower; called with tokens i64[B, L]."""

  def __init__(self, config):
    super().__init__()
    width, length = config.text_width, config.context_length
    is_clip = config.family == 'clip'
    self.visual = (ImageTower if is_clip else SiglipImageTower)(config)
    self.token_embedding = nn.Embedding(config.vocabulary, width)
    self.positional_embedding = nn.Parameter(torch.empty(length, width))
    self.transformer = Transformer(config, 'text')
    self.ln_final = norm_of(config, width)
    # A place for this tensor of original checkpoints; HarMA uses `temp` instead.
    self.logit_scale = nn.Parameter(torch.empty(()))

  def embed(self, input_ids):
    """Rows [B, L, width] before the first block."""
    return (
      self.token_embedding(input_ids) + self.positional_embedding[: input_ids.shape[1]]
    )


class Clip(Towers):
  """A text sees what is before it, and is the projected row of its highest token."""

  def __init__(self, config):
    super().__init__(config)
    self.masks_padding = config.adapter_padding == 'padding'
    self.text_projection = nn.Parameter(
      torch.empty(config.text_width, config.embedding)
    )

  def forward(self, input_ids):
    length, end = input_ids.shape[1], input_ids.argmax(dim=1)
    position = torch.arange(length, device=input_ids.device)
    causal = position[None, :] > position[:, None]
    padding = position[None, :] > end[:, None] if self.masks_padding else None
    x = self.transformer(self.embed(input_ids), causal=causal, padding=padding)
    x = x[torch.arange(x.shape[0], device=x.device), end]
    return self.ln_final(x) @ self.text_projection


class Siglip(Towers):
  """A text sees all positions, padding too, and is the last one through a head."""

  def __init__(self, config):
    super().__init__(config)
    self.text_projection = nn.Linear(config.text_width, config.embedding)
    self.logit_bias = nn.Parameter(torch.empty(()))

  def forward(self, input_ids):
    x = self.transformer(self.embed(input_ids))
    return self.text_projection(self.ln_final(x[:, -1]))


class HarmaModel(PreTrainedModel):
  """Images and captions to unit features; its names are those of HarMA's checkpoints.

  A caption of a CLIP ends at its highest token; with `adapter_padding='none'` what
  follows has an effect too: pad with 0 to `context_length`, as in training. Those of a
  SigLIP are all filled up to `context_length`.
  """

  config_class = HarmaConfig
  _keys_to_ignore_on_load_missing = (r'clip\.logit_scale',)

  def __init__(self, config):
    super().__init__(config)
    for field, choices in CHOICES.items():
      if (found := getattr(config, field)) not in choices:
        raise ValueError(f'config.{field}: expected one of {choices}; found {found!r}.')
    self.clip = (Clip if config.family == 'clip' else Siglip)(config)
    self.temp = nn.Parameter(torch.empty(()))
    if config.shared_adapter == 'both':
      self._tied_weights_keys = tied_adapters(config)
    self.post_init()

  def get_image_features(self, pixel_values):
    """Unit f32[B, D] of normalised f32[B, 3, H, W]; ValueError for other sizes."""
    shape = (3, self.config.image_size, self.config.image_size)
    if (found := tuple(pixel_values.shape))[1:] != shape:
      raise ValueError(f'pixel_values: expected a batch of {shape}; found {found}.')
    return nn.functional.normalize(self.clip.visual(pixel_values).float(), dim=-1)

  def get_text_features(self, input_ids, attention_mask=None):
    """Unit f32[B, D] of i64[B, L]; ignores the mask; ValueError if L does not fit."""
    most, is_clip = self.config.context_length, self.config.family == 'clip'
    if (found := input_ids.shape[1]) > most or (found < most and not is_clip):
      words = 'tokens at most' if is_clip else 'tokens, padding included'
      raise ValueError(f'input_ids: expected {most} {words}; found {found}.')
    return nn.functional.normalize(self.clip(input_ids).float(), dim=-1)

  def forward(self, input_ids, pixel_values, attention_mask=None):
    """Features of both and their similarities, divided by the temperature."""
    image = self.get_image_features(pixel_values)
    text = self.get_text_features(input_ids)
    logits = image @ text.T / self.temp
    if self.config.family == 'siglip':
      logits = logits + self.clip.logit_bias
    scores = {'logits_per_image': logits, 'logits_per_text': logits.T}
    return CLIPOutput(image_embeds=image, text_embeds=text, **scores)

  def _init_weights(self, module):
    """Fresh weights; fresh adapters leave the features unchanged."""
    super()._init_weights(module)
    constants = {'gate1': 0.6, 'temp': 0.07, 'logit_scale': 2.6593}
    constants |= {'l2.weight': 0.0, 'img_proj_up.weight': 0.0, 'logit_bias': -10.0}
    own = (Towers, ImageTower, SiglipImageTower, AttentionPool)
    for name, parameter in module.named_parameters():
      if name in constants:
        nn.init.constant_(parameter, constants[name])
      elif isinstance(module, own) and '.' not in name:
        nn.init.normal_(parameter, std=0.02)


def tied_adapters(config) -> dict[str, str]:
  """With `both`: the first of the shared adapters by the names of its copies.

  Layer l of a tower uses adapter l * n // depth, n the depth of the shallower tower.
  """
  image, text = config.image_layers, config.text_layers
  first, sources = {}, {}
  for tower, depth in {'visual.transformer': image, 'transformer': text}.items():
    for layer in range(depth):
      name = f'clip.{tower}.resblocks.{layer}.mmadapter.BiShareAdapterxx'
      sources[name] = first.setdefault(layer * min(image, text) // depth, name)
  return {name: source for name, source in sources.items() if name != source}
