"""Scores need the attention map, fused attention never shows it: these read what is needed in bounded memory.

The attention itself stays fused; these run beside it, at full steps only (s1) or for fresh tokens only (s2).
"""

import torch

CHUNK = {"cpu": 1 << 18}        # attention weights held at once: 1 MiB in float32, which a CPU's cache holds
LARGE_CHUNK = 1 << 24           # elsewhere: 64 MiB


def split_heads(x, heads: int):
    """(B, N, heads * d) -> (B, heads, N, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def rows(q, k, mask=None):
    """Softmax rows in float32, a few queries at a time. q (B, H, n, d), k (B, H, m, d) -> yields (slice, (B, H, c, m)).

    mask (B, 1, m) is added to the logits.
    """
    scale = q.shape[-1] ** -0.5
    chunk = max(1, CHUNK.get(q.device.type, LARGE_CHUNK) // (q.shape[0] * q.shape[1] * k.shape[2]))
    keys = (k * scale).transpose(-1, -2)
    for start in range(0, q.shape[2], chunk):
        part = slice(start, start + chunk)
        logits = q[:, :, part] @ keys
        yield part, torch.softmax(logits if mask is None else logits + mask[:, None], dim=-1, dtype=torch.float32)


@torch.compiler.disable
def received(q, k):
    """Attention each key receives: sum over queries, mean over heads. q, k (B, H, N, d) -> (B, N) float32."""
    total = None
    for _, weights in rows(q, k):
        mass = weights.sum(dim=-2)                                  # (B, H, N)
        total = mass if total is None else total + mass
    return total.mean(dim=1)


@torch.compiler.disable
def entropy(q, k, conds: int, mask=None):
    """Entropy of each query's attention row over the mean of the heads, then the mean over the conditionings.

    q (conds * B, H, n, d), k (conds * B, H, m, d), mask (conds * B, 1, m) -> (B, n) float32, in nats (paper, equation of s2).
    """
    parts = []
    for _, weights in rows(q, k, mask):
        c = weights.mean(dim=1)                                     # (conds * B, c, m)
        parts.append(-(c * torch.log(c + 1e-7)).sum(dim=-1))
    return torch.cat(parts, dim=-1).unflatten(0, (conds, -1)).mean(dim=0)
