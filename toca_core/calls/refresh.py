"""Token refresh at the stack level: on a step that is not full, the fresh tokens go through all blocks.

They are queries against the keys and values of all tokens: their own are computed, those of the others come from the last full
steps, forecast to the current time. The host's own blocks run on the fresh rows; only inside their attention the keys and values
are completed. What comes out takes the place of the fresh tokens' forecast and is never an anchor, since it has seen forecasts.
"""

import math
from typing import Any

import torch

from ..config import ToCaConfig
from ..costs import flops
from ..keep.cache import StackCache
from ..keep.forecast import Anchors
from ..select import attention
from ..select.regions import Plan
from .context import CallContext
from .module import flat_rows, take_rows
from .stack import BlockPass, StackCall


class AttendedAnchors(Anchors):
    """Keys and values (B, M, ..., 2 C), side by side. They scatter more from step to step than the residual does.

    So of the forecast change only a part is believed: half where the step is as far from the newest anchor as that is from the one
    before, less the farther it goes, and in all never more than the anchors differ. Measured on the demo model, inpainting 12 pictures
    with one token around the mask: 45.7 dB inside it with every second step full and 37.2 with every third, 44.7 and 36.0 with all of
    the change.
    """

    def __init__(self, config: ToCaConfig):
        super().__init__(config.order, trust=False)

    def change(self, when, newest, earlier=None):
        change, [(time, _)] = super().change(when, newest, earlier), when
        if change is None:
            return None
        last, before = self.times[:2]
        return change.mul_(1 / (1 + abs((time - last) / (last - before))))


class RefreshCache(StackCache):
    """Beside the residual, the keys and values of every block, and the plan of the fresh tokens until the next full step."""

    def __init__(self, config: ToCaConfig, plan: Plan):
        super().__init__(config)
        self.config, self.plan, self.queries = config, plan, attention.Queries(config)
        self.attended: dict[tuple[str, int, int], AttendedAnchors] = {}         # of every attention: stack, index of the block, which one

    def keep(self, block, time: float, k, v):
        """k and v (B, M, C) or (B, heads, M, d) of a full step."""
        self.attended.setdefault(block, AttendedAnchors(self.config)).add(time, side_by_side(k, v))

    def complete(self, block, time: float, k, v, rows):
        """The keys and values of all tokens, of which k and v are those at `rows` of the flattened batch."""
        known = self.attended[block].at(time)
        known.view(-1, *known.shape[2:]).index_copy_(0, rows, side_by_side(k, v).flatten(0, 1))
        return (known if k.ndim == 3 else known.transpose(1, 2)).chunk(2, dim=-1)

    def divided(self, count: int) -> list:
        parts = super().divided(count)
        attended = {block: anchors.divided(count) for block, anchors in self.attended.items()}
        for index, (part, plan) in enumerate(zip(parts, self.plan.divided(count), strict=True)):
            part.plan, part.attended = plan, {block: each[index] for block, each in attended.items()}
        return parts

    @classmethod
    def joined(cls, parts: list) -> Any:
        whole: Any = super().joined(parts)
        attended = {block: AttendedAnchors.joined([part.attended[block] for part in parts]) for block in parts[0].attended}
        if whole is None or None in attended.values():
            return None
        whole.plan, whole.attended = Plan.joined([part.plan for part in parts]), attended
        return whole

    @property
    def bytes(self) -> int:
        return super().bytes + sum(anchors.bytes for anchors in self.attended.values())


def side_by_side(k, v):
    """Two (B, M, C) -> (B, M, 2 C); two (B, heads, M, d) -> (B, M, heads, 2 d)."""
    both = torch.cat((k, v), dim=-1)
    return both if both.ndim == 3 else both.transpose(1, 2).contiguous()


class RefreshCall(StackCall):
    """One call of the model. On a skipped step the tokens `fresh` (B, n), indices into the picture's, are computed.

    misplaced    the model has other tokens among the picture's than its sizes tell of, so that no place is known
    since    steps since the last full one
    ahead    how many steps to plan for at a full step
    """

    def __init__(self, about: CallContext, cache: RefreshCache, skip: bool, since: int, ahead: int, **comparison):
        super().__init__(about, cache, skip, **comparison)
        self.ahead = ahead
        self.score: Any = None
        self.ranking = 0                                            # FLOPs of reading the scores
        self.rows: Any = None
        self.joint_rows: dict[int, torch.Tensor] = {}
        self.cuts: dict[int, tuple] = {}                            # id of a value -> it, and the fresh tokens' rows of it
        self.choice = cache.config.refresh if cache.plan.count > cache.plan.always else None
        self.compares = self.compares or self.choice == "error" and not skip
        self.fresh: Any = None
        self.axes: Any = None                                       # of the tokens before the first block, between batch and channels
        self.misplaced = False
        if skip:
            self.fresh = cache.plan.at(since)

    @property
    def flops(self) -> int:
        run = self.bound.refreshed_flops(self.about.sizes, self.fresh.shape[-1]) if self.skip else self.plain_flops
        return run + self.ranking

    @property
    def fresh_per_block(self) -> dict[str, list[float]]:
        """The same tokens in all blocks."""
        return {"blocks": [round(self.fresh.shape[-1] / self.tokens.shape[1], 6)]}

    @property
    def recomputed(self):
        if not self.skip:
            return 1.0
        chosen = torch.zeros(self.tokens.shape[:2], device=self.fresh.device).scatter_(1, self.fresh, 1.0)
        start = self.bound.stacks[0].grid_in_picture(self.about.sizes)
        return chosen[:, start:start + math.prod(self.about.sizes.grid)]

    def replacements(self):
        for stack in self.bound.stacks:
            for index, block in enumerate(stack.blocks):
                yield block, RefreshPass(self, stack, block, index)

    def enter(self, tokens):
        super().enter(tokens)
        if self.skip:
            self.rows = flat_rows(self.fresh, tokens.shape).flatten()

    def leave(self, tokens):
        repaid = super().leave(tokens)
        if tokens.shape[1] != self.about.sizes.stream:
            self.misplaced = True
            return repaid
        if self.choice == "error" and self.token_error is not None:
            self.score = self.token_error.sqrt()
        elif self.score is None:
            self.score = tokens.new_zeros(tokens.shape[:2], dtype=torch.float32)
        self.cache.plan.renew(self.score / self.score.amax(-1, keepdim=True).clamp_min(1e-12), self.ahead)  # of each picture its own
        return repaid

    def take(self, tokens):
        """The fresh ones of the picture's tokens (B, N, C)."""
        return take_rows(tokens, self.rows, self.fresh.shape[-1])

    def cut(self, value):
        """Of a value (B or 1, m, ...) for all tokens, or for frames of them in order, the rows of the fresh ones, (B, n, ...); one that
        is the same for all (m = 1) as it is."""
        if value.shape[1] == 1:
            return value
        if id(value) not in self.cuts:
            repeats = -(-self.tokens.shape[1] // value.shape[1])
            batch = torch.arange(len(self.fresh), device=self.fresh.device)[:, None]
            rows = value.expand(len(self.fresh), *value.shape[1:])[batch, self.fresh // repeats]
            self.cuts[id(value)] = value, rows
        return self.cuts[id(value)][1]

    def placed(self, output):
        """All tokens after the last block: the forecast, with the fresh ones (B, n, C) in place of theirs."""
        self.tokens = self.tokens.contiguous()                      # they may have been a part of a longer sequence
        self.tokens.view(-1, self.tokens.shape[-1]).index_copy_(0, self.rows, output.flatten(0, 1))
        return self.tokens

    def rows_after(self, text: int):
        """Rows of the flattened batch for `text` tokens, all of them fresh, followed by the picture's."""
        if text == 0:
            return self.rows
        if text not in self.joint_rows:
            batch = len(self.fresh)
            every = torch.arange(text, device=self.fresh.device).expand(batch, -1)
            fresh = torch.cat((every, self.fresh + text), dim=1)
            self.joint_rows[text] = flat_rows(fresh, (batch, text + self.tokens.shape[1])).flatten()
        return self.joint_rows[text]

    def take_positions(self, pe, text: int):
        """Of positions (B or 1, 1, M, ...) of text and picture those of the fresh tokens."""
        if pe is None:
            return None
        pe = pe[:, 0].expand(len(self.fresh), *pe.shape[2:])
        return take_rows(pe, self.rows_after(text), text + self.fresh.shape[-1])[:, None]

    def attended(self, block, k, v):
        """The keys and values that the queries of a block attend to; k and v (B, M, C) or (B, heads, M, d)."""
        if self.skip:
            return self.cache.complete(block, self.time, k, v, self.rows_after(k.shape[-2] - self.fresh.shape[-1]))
        self.cache.keep(block, self.time, k, v)
        return k, v


class RefreshPass(BlockPass):
    """The forward of one block: as it is on a full step, its keys and values kept; on a skipped one, of the fresh tokens alone."""

    def __init__(self, call: RefreshCall, stack, block, index: int):
        at = stack, index
        super().__init__(call, stack, block, at == call.first, at == call.last)
        self.at, self.attentions = (stack.stack.name or stack.stack.path, index), 0

    @torch.compiler.disable     # the attention's stand-in belongs to this call and must not be frozen into a compiled graph
    def __call__(self, *args, **kwargs):
        call = self.call
        if self.first:
            self.enter(args, kwargs)
        if call.skip:
            args, kwargs = self.stack.fresh_in(args, kwargs, call, self.first)
        args, kwargs = self.stack.stack.attending(args, kwargs, self.attend)
        output = self.forward(*args, **kwargs)
        if not self.last:
            return output
        if call.skip:
            call.left = True
            return self.stack.fresh_out(output, call)
        return self.left(args, kwargs, output)

    def attend(self, run, q, k, v):
        if self.call.choice == "self_attn" and not self.call.skip:
            self.rank(q, k)
        self.attentions += 1
        v = v.flatten(2) if v.ndim > k.ndim else v                  # Stable Diffusion 3 hands its heads over for the values alone
        return run(q, *self.call.attended((*self.at, self.attentions), k, v))

    def rank(self, q, k):
        """s1 of the picture's tokens, over all blocks."""
        if q.ndim == 3:
            q, k = (attention.split_heads(x, self.stack.heads) for x in (q, k))
        rows = self.call.cache.queries.of(q)
        read = q.shape[2] if rows is None else rows.shape[1]
        self.call.ranking += flops.attention_map(q.shape[0], read, k.shape[2], q.shape[1] * q.shape[3])
        received = attention.received(q, k, rows)[:, -self.call.tokens.shape[1]:]
        self.call.score = received if self.call.score is None else self.call.score + received
