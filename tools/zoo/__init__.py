"""Tiny random models of the host's own diffusion classes, one file per kind: `BUILDERS` has them all by name."""
