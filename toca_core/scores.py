"""Token scores s1..s4 (paper, section 3.2): higher means keep fresh. Pure functions of tensors."""

import torch
import torch.nn.functional as F


def influence(received):
    """s1: attention received per token (..., N), L2-normalised over tokens."""
    return F.normalize(received, dim=-1)


def control(entropy):
    """s2: 1 + entropy of each token's cross-attention row (..., N), L2-normalised over tokens."""
    return F.normalize(1 + entropy, dim=-1)


def staleness(age, cycle: int):
    """s3: steps since a token was last computed, in cycles, (..., N)."""
    return age / cycle


def spread(score, grid: tuple[int, int], cell: int, bonus: float):
    """s4: in every cell x cell square of the token grid the best token is raised by `bonus x` itself.

    score (..., N) with N = rows * columns of `grid`, row by row; squares at the far edges may be cut off.
    """
    rows, cols = grid
    pad = (0, -cols % cell, 0, -rows % cell)
    square = F.pad(score.unflatten(-1, grid), pad, value=-torch.inf)                            # (..., R, C)
    square = square.unflatten(-2, (-1, cell)).unflatten(-1, (-1, cell)).transpose(-3, -2)       # (..., R/c, C/c, c, c)
    cells = square.flatten(-2)                                                                  # (..., R/c, C/c, c * c)
    best, where = cells.max(dim=-1, keepdim=True)
    raised = cells.scatter(-1, where, best + best * bonus)
    raised = raised.unflatten(-1, (cell, cell)).transpose(-3, -2).flatten(-4, -3).flatten(-2)   # (..., R, C)
    return raised[..., :rows, :cols].flatten(-2)
