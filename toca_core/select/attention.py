"""Scores need the attention map, fused attention never shows it: these read what is needed in bounded memory.

The attention itself stays fused; these run beside it, at full steps only (s1) or for fresh tokens only (s2).
"""

from functools import lru_cache

import torch

CHUNK = {"cpu": 1 << 19}        # attention weights held at once: 2 MiB in float32, which a CPU's cache holds
LARGE_CHUNK = 1 << 24           # elsewhere: 64 MiB
HEADS = {"cpu": 4}              # at once: few heads of many queries make larger products than all heads of few; elsewhere all
FUSED = {"cpu": "_scaled_dot_product_flash_attention_for_cpu", "cuda": "_scaled_dot_product_flash_attention"}
HALVES = (torch.float16, torch.bfloat16)
MULTIPLE = 16                   # of a head's width that fused kernels like


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


def weights(q, keys, mask=None):
    """Softmax rows in float32. q (B, H, n, d), keys (B, H, d, m), mask (B, 1, m) added to the logits -> (B, H, n, m)."""
    logits = q @ keys
    return torch.softmax(logits if mask is None else logits + mask[:, None], dim=-1, dtype=torch.float32)


def scaled_keys(k):
    """(B, H, m, d) -> (B, H, d, m), with the softmax's scale."""
    return (k * k.shape[-1] ** -0.5).transpose(-1, -2).contiguous()


@torch.compiler.disable
def received(q, k):
    """Attention each key receives: sum over queries, mean over heads. q, k (B, H, N, d) -> (B, N) float32."""
    return (received_fused if fused_works(q.device, q.dtype) else received_dense)(q, k)


def received_dense(q, k):
    """`received` from the map itself, part by part."""
    keys, total = scaled_keys(k), torch.zeros(k.shape[0], k.shape[2], device=k.device)
    for part in parts(q, k):
        for heads in head_groups(q.shape[1], q.device):
            total += weights(q[:, heads, part], keys[:, heads]).sum(dim=(1, 2))
    return total / q.shape[1]


def received_fused(q, k):
    """`received` in two fused attentions, which tell no weight but the log-sum-exp of every row.

    Where L_i is that of query i, key j receives sum_i exp(s q_i k_j - L_i). That is the exponential of the log-sum-exp of an
    attention in which the keys ask the queries, with -L_i / s in two more dimensions of the head, since one half-precision
    number does not hold it.
    """
    scale = q.shape[-1] ** -0.5
    rest = log_sums(q, k, scale).float() / -scale                   # (B, H, N)
    coarse = rest.to(q.dtype)
    fine = (rest - coarse.float()).to(q.dtype)
    padding = q.new_zeros(*q.shape[:-1], -(q.shape[-1] + 2) % MULTIPLE)
    queries = torch.cat((q, coarse[..., None], fine[..., None], padding), dim=-1)
    keys = torch.cat((k, k.new_ones(*k.shape[:-1], 2), padding), dim=-1)
    return log_sums(keys, queries, scale).float().exp().mean(dim=1)


def log_sums(q, k, scale: float):
    """Log-sum-exp of every query's scaled logits, (B, H, N); torch shows it in no public function."""
    return getattr(torch.ops.aten, FUSED[q.device.type])(q, k, k, scale=scale)[1]


@lru_cache
def fused_works(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether fused kernels for half precision are there and agree with the map, asked once with a small example."""
    if device.type not in FUSED or dtype not in HALVES:
        return False
    q, k = torch.randn(2, 1, 2, 40, 24, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    try:
        return torch.allclose(received_fused(q, k), received_dense(q, k), rtol=0.03)
    except (RuntimeError, AttributeError, TypeError, IndexError):   # another torch, or a device without such a kernel
        return False


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
