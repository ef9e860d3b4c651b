"""Every sampler and every scheduler of the host."""

from dataclasses import replace

import comfy.samplers

from tools.matrix.graph import condition

for name in comfy.samplers.SAMPLER_NAMES:
    condition(f"sampler {name}")(lambda graph, subject, name=name: replace(graph, sampler=name))

for name in comfy.samplers.SCHEDULER_NAMES:
    condition(f"scheduler {name}")(lambda graph, subject, name=name: replace(graph, scheduler=name))
