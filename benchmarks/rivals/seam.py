"""Where the rivals' rules act: inside the host's model, at its blocks, and at the guided prediction, through the host's own wrappers.

A rule is the state of one sampling run. One is made for every set of conditionings that the host asks about together, and one for
the guided prediction. The model is not changed: blocks have other forwards for the length of a call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
from comfy.patcher_extension import WrappersMP

from toca_core.swap import swapped

systems = pack_module("nodes.systems")
KEY = "rival"                       # of the wrappers, and of the run among the model options


class Rule:
    """What a cache decides in one run. A subclass says otherwise where its method does.

    sigmas    noise levels of the run, of its steps and the end
    step      index of the evaluation at hand
    """

    def __init__(self, sigmas: list[float]):
        self.sigmas, self.step = sigmas, -1

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    def predict(self, run_model: Callable, x, sigma: float):
        """The guided clean picture (B, C, H, W) at a noise level."""
        return run_model()

    def call(self, through: Callable):
        """What the model returns; through(passes, visit) runs it with `visit` where `at_blocks` or `at_modules` pass."""
        return through(nowhere, None)


@dataclass(frozen=True)
class Place:
    """A block among all: its index, from the first and from the last."""
    index: int
    depth: int

    @property
    def first(self) -> bool:
        return self.index == 0

    @property
    def last(self) -> bool:
        return self.index == self.depth - 1


@dataclass
class Run:
    """The rules of one sampling run. bound: the model's stacks, as the pack's model table has them."""
    make: Callable
    sigmas: list[float]
    bound: object

    def __post_init__(self):
        self.rules = {}

    def rule(self, asked: tuple[int, ...] | str) -> Rule:
        """That of the conditionings asked together, at its next evaluation."""
        if asked not in self.rules:
            self.rules[asked] = self.make(self.sigmas)
        self.rules[asked].step += 1
        return self.rules[asked]


def install(make: Callable):
    """make: noise levels -> Rule. -> what puts it on a MODEL."""
    def prepare(model):
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, partial(outer_sample, make))
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, predict_noise)
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, diffusion_model)
        return model
    return prepare


def outer_sample(make, executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
    guider = executor.class_obj
    bound, _ = systems.bound_of(guider.model_patcher.get_model_object("diffusion_model"))
    options = guider.model_options.setdefault("transformer_options", {})
    options[KEY] = Run(make, sigmas.tolist(), bound)
    try:
        return executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
    finally:
        options.pop(KEY)


def predict_noise(executor, x, timestep, model_options={}, seed=None):
    rule = model_options["transformer_options"][KEY].rule("guided")
    return rule.predict(lambda: executor(x, timestep, model_options, seed), x, float(timestep.flatten()[0]))


def diffusion_model(executor, *args, **kwargs):
    options = args[-1]
    run = options[KEY]

    def through(passes, visit):
        with swapped(passes(run.bound, visit)):
            return executor(*args, **kwargs)
    return run.rule(tuple(options["cond_or_uncond"])).call(through)


def nowhere(bound, visit):
    return ()


def at_blocks(bound, visit):
    """visit(place, tokens, compute) -> tokens: those of the picture (B, N, C), before and after a block.

    compute() runs the block; compute(tokens) runs it on others, where a block has no other stream than the picture's.
    """
    blocks = [(stack, block) for stack in bound.stacks for block in stack.blocks]
    for index, (stack, block) in enumerate(blocks):
        yield block, partial(pass_block, visit, Place(index, len(blocks)), stack, block.forward)


def pass_block(visit, place: Place, stack, forward, *args, **kwargs):
    computed = []

    def compute(others=None):
        computed[:] = [forward(*args, **kwargs) if others is None else forward(others, *args[1:], **kwargs)]
        return stack.picture_out(computed[0], tokens.shape[1])
    tokens = stack.picture_in(args, kwargs)
    tokens = visit(place, tokens, compute)
    return stack.changed(computed[0], tokens) if computed else stack.passed(args, kwargs, tokens)


def at_modules(bound, visit):
    """visit(key, compute) -> what a module returns, its attention or MLP; of models whose modules a block calls one by one."""
    for stack in bound.stacks:
        for key, module in stack.modules.items():
            yield module, partial(pass_module, visit, (stack, *key), module.forward)


def pass_module(visit, key, forward, *args, **kwargs):
    return visit(key, lambda: forward(*args, **kwargs))
