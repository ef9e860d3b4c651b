"""Scores need the attention map, fused attention never shows it: these read what is needed in bounded memory.

The attention itself stays fused; these run beside it, at full steps only (s1) or for fresh tokens only (s2).
"""

import torch

from ..config import ToCaConfig
from ..schedule import queries_read

CHUNK = {"cpu": 1 << 19}        # attention weights held at once: 2 MiB in float32, which a CPU's cache holds
LARGE_CHUNK = 1 << 24           # elsewhere: 64 MiB
HEADS = {"cpu": 4}              # at once: few heads of many queries make larger products than all heads of few; elsewhere all
UNIT, STRIDE = 1 << 16, 37345   # parts of a stretch of rows; 0.5698, the inverse square of the plastic number, in such parts


def split_heads(x, heads: int):
    """(B, N, heads * d) -> (B, heads, N, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def head_groups(heads: int, device):
    """The heads, as many at a time as the device likes."""
    group = HEADS.get(device.type, heads)
    return [slice(start, start + group) for start in range(0, heads, group)]


def parts(q, k):
    """The queries, as many at a time as a chunk holds for one group of heads of all the batch. q (B, H, n, d), k (B, H, m, d)."""
    group = min(q.shape[1], HEADS.get(q.device.type, q.shape[1]))
    chunk = max(1, CHUNK.get(q.device.type, LARGE_CHUNK) // (q.shape[0] * group * k.shape[2]))
    return [slice(start, start + chunk) for start in range(0, q.shape[2], chunk)]


def weights(q, keys, mask=None, dtype=torch.float32):
    """Softmax rows. q (B, H, n, d) and keys (B, H, d, m), one of them scaled, mask (B, 1, m) added to the logits -> (B, H, n, m)."""
    logits = q @ keys
    return torch.softmax(logits if mask is None else logits + mask[:, None], dim=-1, dtype=dtype)


def scaled(x):
    """Queries or keys (..., d) with the softmax's scale: whichever are fewer, so that of the others no copy is made."""
    return x * x.shape[-1] ** -0.5


def turned(k):
    """(B, H, m, d) -> (B, H, d, m). A CPU multiplies 16 bits more slowly by what is only seen from the other side; elsewhere a copy is
    made only where heads lie within tokens, and row by row."""
    return k.transpose(-1, -2).contiguous() if k.device.type == "cpu" else k.contiguous().transpose(-1, -2)


def spread_rows(count: int, length: int, heads: int, device):
    """For every head `count` of the rows 0 .. length - 1, in order, (heads, count): one out of each of as many stretches.

    Rows at equal distance would all lie in the same few columns of a picture. So the place within a stretch moves on from one stretch to
    the next, by an irrational part of it (of the R2 sequence, M. Roberts, 2018), and from one head to the next, by equal parts. It is
    reckoned in whole numbers, alike on every device.
    """
    index, head = torch.arange(count + 1, device=device), torch.arange(heads, device=device)[:, None]
    bounds = index * length // count
    return bounds[:-1] + (index[:-1] * STRIDE + head * UNIT // heads) % UNIT * bounds.diff() // UNIT


class Queries:
    """From which queries s1 is read, made once for all attentions of a size."""

    def __init__(self, config: ToCaConfig):
        self.config = config
        self.rows: dict[tuple, torch.Tensor] = {}

    def of(self, q):
        """Rows (H, n) of q (B, H, N, d); None for all."""
        heads, length = q.shape[1:3]
        count, size = queries_read(self.config, length), (heads, length, q.device)
        if count == length:
            return None
        if size not in self.rows:
            self.rows[size] = spread_rows(count, length, heads, q.device)
        return self.rows[size]


@torch.compiler.disable
def received(q, k, rows=None):
    """Attention each key receives: sum over queries, mean over heads. q, k (B, H, N, d) -> (B, N) float32.

    rows    (H, n) of the N queries from which it is read in every head, as `Queries`, which makes it an estimate; None for all
    """
    heads, length = q.shape[1:3]
    if rows is not None:
        q = q[:, torch.arange(heads, device=q.device)[:, None], rows]
    q, keys, total = scaled(q), turned(k), torch.zeros(k.shape[0], k.shape[2], device=k.device)
    for part in parts(q, k):
        for group in head_groups(heads, q.device):
            # In the model's dtype, as the logits are: a third of the bytes of float32, and the sum itself is in float32.
            total += weights(q[:, group, part], keys[:, group], dtype=q.dtype).sum(dim=(1, 2), dtype=torch.float32)
    return total / (heads * (q.shape[2] / length))


@torch.compiler.disable
def entropy(q, k, conds: int, mask=None):
    """Entropy of each query's attention row over the mean of the heads, then the mean over the conditionings.

    q (conds * B, H, n, d), k (conds * B, H, m, d), mask (conds * B, 1, m) -> (B, n) float32, in nats (paper, equation of s2).
    """
    keys, found = turned(scaled(k)), []
    for part in parts(q, k):
        c = sum(weights(q[:, heads, part], keys[:, heads], mask).sum(dim=1) for heads in head_groups(q.shape[1], q.device))
        c = c / q.shape[1]                                          # (conds * B, n, m)
        found.append(-(c * torch.log(c + 1e-7)).sum(dim=-1))
    return torch.cat(found, dim=-1).unflatten(0, (conds, -1)).mean(dim=0)
