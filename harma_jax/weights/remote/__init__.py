"""Code that travels with exported weights; runs without harma_jax."""
