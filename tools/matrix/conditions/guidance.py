"""Other ways to guide: nodes that call the model once more, that mix predictions otherwise, and guiders with more conditionings."""

from dataclasses import replace

import comfy_extras.nodes_apg as apg
import comfy_extras.nodes_cfg as cfg
import comfy_extras.nodes_custom_sampler as custom
import comfy_extras.nodes_eps as eps
import comfy_extras.nodes_fresca as fresca
import comfy_extras.nodes_mahiro as mahiro
import comfy_extras.nodes_model_advanced as advanced
import comfy_extras.nodes_nag as nag
import comfy_extras.nodes_pag as pag
import comfy_extras.nodes_perpneg as perpneg
import comfy_extras.nodes_sag as sag
import comfy_extras.nodes_slg as slg
import comfy_extras.nodes_tcfg as tcfg

from tools.matrix.graph import LeftOut, before, behind, condition, guided, output


def skipping(layer: int, start: float = 0.0, end: float = 1.0, simple: bool = False):
    def node(model):
        given = dict(start_percent=start, end_percent=end, double_layers=str(layer), single_layers=str(layer))
        if simple:
            return output(slg.SkipLayerGuidanceDiTSimple.execute(model, **given))
        return output(slg.SkipLayerGuidanceDiT.execute(model, scale=1.0, **given))
    return node


NODES = {
    "SkipLayerGuidanceDiT, an inner block": skipping(1),
    "SkipLayerGuidanceDiT, the first block": skipping(0),
    "SkipLayerGuidanceDiT, a later block in half of the run": skipping(2, 0.01, 0.5),
    "SkipLayerGuidanceDiTSimple, an inner block": skipping(1, simple=True),
    "SkipLayerGuidanceDiTSimple, the first block": skipping(0, simple=True),
    "PerturbedAttentionGuidance": lambda model: output(pag.PerturbedAttentionGuidance.execute(model, 1.0)),
    "NAGuidance": lambda model: output(nag.NAGuidance.execute(model, 3.0, 0.5, 1.5)),
    "CFGZeroStar": lambda model: output(cfg.CFGZeroStar.execute(model)),
    "CFGNorm": lambda model: output(cfg.CFGNorm.execute(model, 1.0)),
    "RescaleCFG": lambda model: output(advanced.RescaleCFG().patch(model, 0.7)),
    "Mahiro": lambda model: output(mahiro.Mahiro.execute(model)),
    "TCFG": lambda model: output(tcfg.TCFG.execute(model)),
    "APG": lambda model: output(apg.APG.execute(model, 1.0, 5.0, 0.0)),
    "FreSca": lambda model: output(fresca.FreSca.execute(model, 1.0, 1.25, 4)),
    "Epsilon Scaling": lambda model: output(eps.EpsilonScaling.execute(model, 1.005)),
    "TemporalScoreRescaling": lambda model: output(eps.TemporalScoreRescaling.execute(model, 0.95, 1.0)),
}


def last_block(model) -> int:
    """Of the model's longest list of blocks."""
    import torch
    lists = [len(part) for part in model.model.diffusion_model.children() if isinstance(part, torch.nn.ModuleList)]
    return max(lists, default=1) - 1


for name, node in NODES.items():
    condition(name)(lambda graph, subject, node=node: before(graph, node))


@condition("SkipLayerGuidanceDiT, the last block")
def skip_last(graph, subject):
    return before(graph, skipping(last_block(graph.model)))


@condition("SkipLayerGuidanceDiT after")
def skip_after(graph, subject):
    return behind(graph, skipping(1))


@condition("SelfAttentionGuidance")
def self_attention_guidance(graph, subject):
    if subject.name != "sd15":
        raise LeftOut("made for UNets")
    return before(graph, lambda model: output(sag.SelfAttentionGuidance.execute(model, 0.5, 2.0)))


# ---- guiders ----


@condition("no guidance")
def no_guidance(graph, subject):
    return replace(graph, cfg=1.0)


@condition("BasicGuider")
def basic(graph, subject):
    return replace(graph, sample=guided, guide=lambda model, positive, negative, cfg: output(custom.BasicGuider.execute(model, positive)))


@condition("PerpNegGuider")
def perp_neg(graph, subject):
    def guide(model, positive, negative, cfg):
        empty = [[negative[0][0] * 0, negative[0][1]]]
        return output(perpneg.PerpNegGuider.execute(model, positive, negative, empty, cfg, 1.0))
    return replace(graph, sample=guided, guide=guide)


def dual(style: str):
    def guide(model, positive, negative, cfg):
        middle = [[(positive[0][0] + negative[0][0]) / 2, positive[0][1]]]
        return output(custom.DualCFGGuider.execute(model, positive, middle, negative, cfg, 1.5, style))
    return guide


@condition("DualCFGGuider, regular")
def dual_regular(graph, subject):
    return replace(graph, sample=guided, guide=dual("regular"))


@condition("DualCFGGuider, nested")
def dual_nested(graph, subject):
    return replace(graph, sample=guided, guide=dual("nested"))


