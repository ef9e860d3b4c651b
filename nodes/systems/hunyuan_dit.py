"""Hunyuan-DiT; its long skips are popped by the model itself, whether its blocks run or not."""

import torch

from comfy.ldm.hydit.attn_layers import apply_rotary_emb

from ...toca_core import published
from ...toca_core.families.parts import Part, PartStack
from ...toca_core.families.standing import PartForward
from ...toca_core.swap import overheard
from ...toca_core.system import System


class HunyuanForward(PartForward):
    """An attention that returns a tuple of one, takes none of the host's options, and positions that are one for all samples."""

    def run(self, args, kwargs, seen=None):
        if seen is None:
            return self.forward(*args, **kwargs)
        with overheard(self.block, ("q_norm", "k_norm")) as found:
            outputs = self.forward(*args, **kwargs)
        q, k = found["q_norm"], found["k_norm"]
        if self.part.kind == "self_attn":                           # queries and keys have their heads first
            seen(*apply_rotary_emb(q, k, args[1], head_first=True))
        else:
            seen(apply_rotary_emb(q, None, args[2])[0].transpose(1, 2), k.transpose(1, 2))
        return outputs

    def run_rows(self, rows, x, take, args, kwargs, seen=None):
        """Sample by sample, each with its own rows' positions."""
        _, context, positions = args
        positions = [take(part.expand(len(x), *part.shape)) for part in positions]
        found: list = []
        listen = None if seen is None else lambda *qk: found.append(qk)
        outputs = [self.run((rows[index:index + 1], context[index:index + 1], tuple(part[index] for part in positions)), {}, listen)[0]
                   for index in range(len(rows))]
        if seen is not None:
            seen(*(torch.cat(parts) for parts in zip(*found, strict=True)))
        return torch.cat(outputs)

    @staticmethod
    def returned(outputs):
        return outputs


BLOCKS = PartStack("blocks", beside=("skip_linear",), parts=(
    Part("self_attn", "attn1", forward=HunyuanForward), Part("cross_attn", "attn2", text=("kv_proj",), forward=HunyuanForward),
    Part("mlp")))

HUNYUAN_DIT = System("hunyuan_dit", "Hunyuan-DiT", ("comfy.ldm.hydit.models.HunYuanDiT",), (BLOCKS,),
    paper=lambda steps: published.PIXART, paper_of="PixArt", loader="Load Checkpoint")
