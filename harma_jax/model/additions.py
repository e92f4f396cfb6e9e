"""What a method may add to CLIP, and where: the hooks that its settings override."""

import dataclasses

import flax.linen as nn
import jax

# Every parameter that a method adds has one of these in its path, none of CLIP's has.
ADDED = r'adapter|adaptformer|block_gate|lora_'


@dataclasses.dataclass(frozen=True)
class Additions:
  """Settings of what is added to both towers; this one adds nothing.

  Hooks run inside a module and may create modules there. What they return differs from
  what they got by what is learned, zero for fresh weights.
  """

  kind = 'none'  # of `model.adapters`
  shares = False  # whether layers also use one `SharedAdapter` for all

  def change_dense(self, name: str, x: jax.Array, y: jax.Array) -> jax.Array:
    """The output `y` of a block's dense layer `qkv`, `up` or `down` on `x`.

    Args:
      name: of the layer; `qkv` has query, key and value side by side.
      x: dtype[B, L, inputs].
      y: dtype[B, L, outputs].

    Returns:
      dtype[B, L, outputs].
    """
    del name, x
    return y

  def change_mlp(
    self,
    block: nn.Module,
    x: jax.Array,
    m: jax.Array,
    *,
    shared: dict | None,
    mask: jax.Array | None,
  ) -> jax.Array:
    """The output `m` of a block's MLP on `x`, before it joins the residual stream.

    Args:
      block: takes parameters that are in no module of their own.
      x: dtype[B, L, width], normalised.
      m: dtype[B, L, width].
      shared: parameters of this layer's `SharedAdapter`, or None to do without.
      mask: bool[B, L], the positions to attend to; None: all.

    Returns:
      dtype[B, L, width].
    """
    del block, x, shared, mask
    return m

  def change_features(self, features: jax.Array) -> jax.Array:
    """A tower's features dtype[B, D], before they get length 1."""
    return features
