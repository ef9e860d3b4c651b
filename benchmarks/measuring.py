"""One process, one model, the same noise: what a variant of sampling costs, and how close its pictures come to the plain ones."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from tools.pack import load_host

load_host(cpu=not torch.cuda.is_available(), float32=True)
import comfy.sample
from comfy.patcher_extension import WrappersMP

from benchmarks import figures
from benchmarks.variants import SECOND_TRUTH, TRUTH, Variant, plain
from demo.subjects import SHAPES, Subject
from toca_core import quality

TURN = 8                            # variants that are compared with one plain run beside them


@dataclass(frozen=True)
class Batch:
    labels: list                    # what the subject is asked for
    noise: torch.Tensor             # (B, 3, H, W)
    seed: int
    subject: Subject = SHAPES


@dataclass
class Work:
    """What one run really did: evaluations that the sampler asked for, and tokens that went through a block's attention, per picture."""
    evaluations: int = 0
    tokens: float = 0


@dataclass
class Tally:
    """The figures of one variant, one entry per run (`seconds`, `ratios`, `work`) or per picture (the others)."""
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)               # seconds of the plain run of this turn / of this one
    work: list[Work] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    truth: list[float] = field(default_factory=list)                # PSNR to the converged run, where there is one
    ssim: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)                 # where a picture shows what was asked for
    flops: int = 0                  # of the run in which they were counted, and the tokens that attended in it
    flops_tokens: float = 0


def make_batches(pictures: int, size: int, subject: Subject = SHAPES) -> list[Batch]:
    """`pictures` in batches of `size`, each with a seed of its own."""
    labels = subject.ask(pictures)
    cut = [labels[start:start + size] for start in range(0, pictures, size)]
    return [Batch(part, comfy.sample.prepare_noise(subject.empty_latent(len(part)), seed), seed, subject) for seed, part in enumerate(cut)]


@contextmanager
def counted(model, subject: Subject = SHAPES) -> Iterator[tuple[object, Work]]:
    """-> (a MODEL that counts, its Work, to be set back by the caller before a run); no cache may be on the model yet.

    Its wrapper comes before those of caches, so it sees every evaluation, and its hooks sit where no cache gets without computing.
    """
    work, model = Work(), model.clone()

    def predict_noise(executor, *args, **kwargs):
        work.evaluations += 1
        return executor(*args, **kwargs)

    def attend(module, inputs):
        work.tokens += inputs[0].shape[:2].numel()

    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "bench", predict_noise)
    hooks = [module.register_forward_pre_hook(attend) for module in subject.attending(model.model.diffusion_model)]
    try:
        yield model, work
    finally:
        for hook in hooks:
            hook.remove()


def sample(model, variant: Variant, batch: Batch, cfg: float):
    """-> (pictures (B, 3, H, W) in 0..1, seconds). Noise and latent are copies: some caches write into what they are given."""
    positive, negative = (batch.subject.conditioning(labels) for labels in (batch.labels, [batch.subject.nothing]))
    noise, latent = batch.noise.clone(), batch.subject.empty_latent(len(batch.labels))
    began = time.perf_counter()
    with torch.inference_mode():
        result = comfy.sample.sample(model, noise, variant.steps, cfg, variant.sampler, variant.scheduler, positive, negative, latent,
                                     disable_pbar=True, seed=batch.seed).float().cpu()
    return (result + 1).div(2).clamp(0, 1), time.perf_counter() - began


class Comparison:
    """Variants against the plain run of a sampler, batch by batch.

    The runs take turns, and a plain one comes before every few of them, so that a machine that slows down slows both sides.
    """

    def __init__(self, model, work: Work, sampler: str, steps: int, variants: list[Variant], cfg: float, truths: dict | None = None):
        """truths: of every batch's seed what very many steps come to, filled on the way; None where that is not asked."""
        self.work, self.cfg, self.plain = work, cfg, plain(sampler, steps)
        self.model, self.truths = model, truths
        self.agreement: list[float] = []                            # of two solvers about the truth, in dB
        self.variants = variants
        self.models = {variant: variant.prepare(model) for variant in (self.plain, *variants)}
        self.tallies = {variant: Tally() for variant in self.models}

    def run(self, variant: Variant, batch: Batch):
        self.work.evaluations = self.work.tokens = 0
        result = sample(self.models[variant], variant, batch, self.cfg)
        self.work.tokens /= len(batch.labels)
        return result

    def count_flops(self, batch: Batch, done=lambda: None):
        """Of every variant on one batch, untimed; also the warm-up."""
        for variant, tally in self.tallies.items():
            with FlopCounterMode(display=False) as counter:
                self.run(variant, batch)
            tally.flops, tally.flops_tokens = counter.get_total_flops(), self.work.tokens
            done()

    def add(self, batch: Batch, done=lambda: None):
        """One batch through all variants; `done` is called after every run."""
        reference, _ = self.run(self.plain, batch)
        truth = None if self.truths is None else self.converged(batch, self.truths)
        done()
        for start in range(0, max(1, len(self.variants)), TURN):
            beside = None
            for variant in (self.plain, *self.variants[start:start + TURN]):
                pictures, seconds = self.run(variant, batch)
                beside = beside or seconds
                self.note(self.tallies[variant], pictures, reference, truth, batch, seconds, beside / seconds)
                done()

    def converged(self, batch: Batch, truths: dict):
        """What very many steps come to; of the first batch another solver is asked too."""
        if batch.seed not in truths:
            truths[batch.seed] = sample(self.model, TRUTH, batch, self.cfg)[0]
        if not self.agreement:
            if (again := f"{batch.seed} again") not in truths:
                truths[again] = sample(self.model, SECOND_TRUTH, batch, self.cfg)[0]
            self.agreement = quality.psnr(truths[again], truths[batch.seed]).tolist()
        return truths[batch.seed]

    def note(self, tally: Tally, pictures, reference, truth, batch: Batch, seconds: float, ratio: float):
        tally.seconds.append(seconds)
        tally.ratios.append(ratio)
        tally.work.append(replace(self.work))
        tally.psnr += quality.psnr(pictures, reference).tolist()
        tally.truth += [] if truth is None else quality.psnr(pictures, truth).tolist()
        tally.ssim += quality.ssim(pictures, reference).tolist()
        tally.right += batch.subject.right(pictures, batch.labels)

    def runs(self, batches: int) -> int:
        """How often `done` will be called."""
        turns = -(-max(1, len(self.variants)) // TURN)
        return len(self.models) + batches * (1 + turns + len(self.variants))

    def rows(self) -> list[dict]:
        """The figures of the plain run and of every variant.

        seconds, speedup, ssim, accuracy: medians of the runs, means of the pictures. flops: of a batch, as counted on the first one
        and carried over to the mean of all in proportion to model_calls, the evaluations that would take as much attention as was
        computed; evaluations: those the sampler asked for. PSNR is in dB.
        """
        whole = self.tallies[self.plain]
        tokens_per_evaluation = sum(work.tokens for work in whole.work) / sum(work.evaluations for work in whole.work)
        return [self.row(variant, tally, whole, tokens_per_evaluation) for variant, tally in self.tallies.items()]

    def row(self, variant: Variant, tally: Tally, whole: Tally, tokens_per_evaluation: float) -> dict:
        mean, worst = figures.mean_and_worst(tally.psnr)
        truth = figures.mean_and_worst(tally.truth) if tally.truth else (None, None)
        tokens = statistics.mean(work.tokens for work in tally.work)
        flops = tally.flops * tokens / tally.flops_tokens
        speedup, flops_speedup = statistics.median(tally.ratios), whole.flops / flops
        return {"kind": variant.kind, "family": variant.family, "setting": variant.setting, "sampler": variant.sampler,
                "steps": variant.steps, "seconds": statistics.median(tally.seconds), "speedup": speedup, "flops": flops,
                "flops_speedup": flops_speedup, "wall_over_flops": speedup / flops_speedup,
                "model_calls": tokens / tokens_per_evaluation,
                "evaluations": statistics.mean(work.evaluations for work in tally.work), "psnr_mean": mean, "psnr_worst": worst,
                "error": figures.standard_error(tally.psnr), "truth_mean": truth[0], "truth_worst": truth[1],
                "ssim": statistics.mean(tally.ssim), "accuracy": statistics.mean(tally.right),
                "psnr": [min(value, quality.IDENTICAL) for value in tally.psnr]}
