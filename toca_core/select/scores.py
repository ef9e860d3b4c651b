"""Token scores s1..s4 (paper, section 3.2): higher means keep fresh. Pure functions of tensors."""

import torch
import torch.nn.functional as F
from einops import rearrange


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
    square = F.pad(score.unflatten(-1, grid), (0, -cols % cell, 0, -rows % cell), value=-torch.inf)    # (..., R, C)
    cells = rearrange(square, "... (r i) (c j) -> ... r c (i j)", i=cell, j=cell)
    best, where = cells.max(dim=-1, keepdim=True)
    raised = cells.scatter(-1, where, best + best * bonus)
    square = rearrange(raised, "... r c (i j) -> ... (r i) (c j)", i=cell)
    return square[..., :rows, :cols].flatten(-2)
