"""Every sampler and every scheduler of the host."""

from dataclasses import replace

import comfy.samplers

from tools.matrix.graph import condition

GUIDED, ENDING = 1.5, "_cfg_pp"     # guidance for CFG++ (Chung et al. 2024), which takes little: at 3 what it adds grows with every step


def sampled_by(graph, name: str):
    return replace(graph, sampler=name, cfg=GUIDED if name.endswith(ENDING) else graph.cfg)


for name in comfy.samplers.SAMPLER_NAMES:
    condition(f"sampler {name}")(lambda graph, subject, name=name: sampled_by(graph, name))

for name in comfy.samplers.SCHEDULER_NAMES:
    condition(f"scheduler {name}")(lambda graph, subject, name=name: replace(graph, scheduler=name))
