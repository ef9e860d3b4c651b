"""Scores need the attention map, fused attention never shows it: these read what is needed in bounded memory.

The attention itself stays fused; these run beside it, at full steps only (s1) or for fresh tokens only (s2).
"""

import torch

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
    """Softmax rows. q (B, H, n, d), keys (B, H, d, m), mask (B, 1, m) added to the logits -> (B, H, n, m)."""
    logits = q @ keys
    return torch.softmax(logits if mask is None else logits + mask[:, None], dim=-1, dtype=dtype)


def scaled_keys(k):
    """(B, H, m, d) -> (B, H, d, m), with the softmax's scale."""
    return (k * k.shape[-1] ** -0.5).transpose(-1, -2).contiguous()


def spread_rows(count: int, length: int, heads: int, device):
    """For every head `count` of the rows 0 .. length - 1, in order, (heads, count): one out of each of as many stretches.

    Rows at equal distance would all lie in the same few columns of a picture. So the place within a stretch moves on from one stretch to
    the next, by an irrational part of it (of the R2 sequence, M. Roberts, 2018), and from one head to the next, by equal parts. It is
    reckoned in whole numbers, alike on every device.
    """
    index, head = torch.arange(count + 1, device=device), torch.arange(heads, device=device)[:, None]
    bounds = index * length // count
    return bounds[:-1] + (index[:-1] * STRIDE + head * UNIT // heads) % UNIT * bounds.diff() // UNIT


@torch.compiler.disable
def received(q, k, queries: int):
    """Attention each key receives: sum over queries, mean over heads. q, k (B, H, N, d) -> (B, N) float32.

    queries    from how many of the N it is read, in every head; from fewer it is an estimate
    """
    heads, length = q.shape[1:3]
    if queries < length:
        q = q[:, torch.arange(heads, device=q.device)[:, None], spread_rows(queries, length, heads, q.device)]
    keys, total = scaled_keys(k), torch.zeros(k.shape[0], k.shape[2], device=k.device)
    for part in parts(q, k):
        for group in head_groups(heads, q.device):
            # In the model's dtype, as the logits are: a third of the bytes of float32, and the sum itself is in float32.
            total += weights(q[:, group, part], keys[:, group], dtype=q.dtype).sum(dim=(1, 2), dtype=torch.float32)
    return total / (heads * (queries / length))


@torch.compiler.disable
def entropy(q, k, conds: int, mask=None):
    """Entropy of each query's attention row over the mean of the heads, then the mean over the conditionings.

    q (conds * B, H, n, d), k (conds * B, H, m, d), mask (conds * B, 1, m) -> (B, n) float32, in nats (paper, equation of s2).
    """
    keys, found = scaled_keys(k), []
    for part in parts(q, k):
        c = sum(weights(q[:, heads, part], keys[:, heads], mask).sum(dim=1) for heads in head_groups(q.shape[1], q.device))
        c = c / q.shape[1]                                          # (conds * B, n, m)
        found.append(-(c * torch.log(c + 1e-7)).sum(dim=-1))
    return torch.cat(found, dim=-1).unflatten(0, (conds, -1)).mean(dim=0)
