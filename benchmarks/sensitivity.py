"""How much it harms the picture to cache one token, one module or one block: whether they differ as the paper says, up to ten times.

    python run.py sensitivity [--model shapes scenes] [--pictures 2] [--tokens 64] [--steps 30] [--json FILE] [--out DIR]

At one step of a plain run something old is used: what all blocks together added to one token a few steps before, or what one module of
one block, or all of a block's, returned then. The rest of that step, and every step after it, is computed. The damage is the root mean
square difference of the finished picture, whose values span 1. Its worst and its best tenth are means over the tokens of one picture.
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks import demo_quality, pages, tables
from benchmarks.hooked import Hooked, of_a_call, probe, stack
from demo.subjects import SUBJECTS
from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
import comfy.sample
import comfy.samplers

swap, systems = pack_module("toca_core.swap"), pack_module("nodes.systems")
SHARES = (0.2, 0.4, 0.7)            # of the run, where something old is used
STALE = 3                           # steps by which it is older
GUIDANCE = 3.0


class StaleTokens(stack.StackCall):
    """A full call on copies of one picture, in each of which one token has the residual that it had some steps before.

    residual    (conds, N, C); tokens: of each copy the index of that token
    """

    def __init__(self, about, residual, tokens):
        super().__init__(*about, skip=False)
        self.residual, self.stale = residual, tokens

    def leave(self, tokens):
        rows, conds = torch.arange(tokens.shape[0]), len(self.residual)
        which, one = self.stale.repeat(conds), rows // len(self.stale)
        changed = tokens.clone()
        changed[rows, which] = self.tokens[rows, which] + self.residual[one, which]
        return changed


class Trial(Hooked):
    """One picture of one model, sampled plainly; `damage` goes back into its run."""

    def __init__(self, subject, steps: int, label, seed: int):
        super().__init__(subject.load())
        self.subject, self.label, self.steps = subject, label, steps
        self.sigmas = comfy.samplers.calculate_sigmas(self.model.get_model_object("model_sampling"), "simple", steps)
        self.moments = sorted({max(STALE, round(share * steps)) for share in SHARES})
        self.samples: dict[int, torch.Tensor] = {}                  # at the moments
        self.residuals: dict[int, list] = {}                        # of the calls of a step, (conds, N, C)
        self.modules: dict[int, list] = {}                          # likewise what every module returned
        self.act: Callable | None = None                            # on each call of the first evaluation
        self.first, self.recording = 0, True
        latent = comfy.sample.prepare_noise(subject.empty_latent(1), seed)
        self.plain = self.run(latent, 0, self.keep)
        self.recording = False

    def run(self, noise, first: int, callback=None):
        """The rest of a run from step `first` on; noise: of the sample there, as a share of its noise level -> pictures in 0..1."""
        self.index, self.first = first - 1, first
        count = noise.shape[0]
        positive, negative = (self.subject.conditioning([label] * count) for label in (self.label, self.subject.nothing))
        guider = comfy.samplers.CFGGuider(self.model)
        guider.set_conds(positive, negative)
        guider.set_cfg(GUIDANCE)
        with torch.inference_mode():
            result = guider.sample(noise, torch.zeros_like(noise), comfy.samplers.sampler_object("euler"), self.sigmas[first:],
                                   callback=callback, disable_pbar=True, seed=0)
        return (result.float() + 1) / 2

    def keep(self, step, denoised, x, total):
        if step in self.moments:
            self.samples[step] = x.clone()

    def damage(self, moment: int, act: Callable | None, copies: int = 1) -> list[float]:
        """Of the finished pictures, where `act` answers the calls of the step at a moment."""
        self.act = act
        noise = (self.samples[moment] / self.sigmas[moment]).expand(copies, -1, -1, -1).clone()
        return (self.run(noise, moment) - self.plain).square().flatten(1).mean(1).sqrt().tolist()

    # ---- in the host's calls ----

    def called(self, call, about, x):
        if self.recording and self.index + STALE in self.moments:
            return self.record(call, about)
        if self.act is not None and self.index == self.first:
            return self.act(call, about, self.ordinal - 1)
        return call()

    def record(self, call, about):
        kept = probe.RecordCall(*about)
        with swap.swapped(kept.replacements()):
            whole = stack.StackCall(*of_a_call(*about), skip=False)
            with swap.swapped(whole.replacements()):
                output = call()
        self.modules.setdefault(self.index + STALE, []).append(kept.cache)
        self.residuals.setdefault(self.index + STALE, []).append(whole.tokens)
        return output

    # ---- what is cached ----

    def tokens(self, moment: int, chosen) -> list[float]:
        """The damage of each of these tokens."""
        def act(call, about, ordinal):
            session = StaleTokens(of_a_call(*about), self.residuals[moment][ordinal], chosen)
            with swap.swapped(session.replacements()):
                return call()
        return self.damage(moment, act, len(chosen))

    def sites(self, moment: int, sites: tuple, block: int) -> float:
        """The damage of some modules of a block."""
        def act(call, about, ordinal):
            bound, sizes, conds = about
            with swap.swapped(probe.ProbeCall(bound, self.modules[moment][ordinal], sizes, conds, sites, block).replacements()):
                return call()
        return self.damage(moment, act)[0]

    def parts(self) -> Iterator[tuple[str, tuple, int]]:
        """Every module of every block, and every block: (name, its sites, block)."""
        bound = systems.bound_of(self.model.model.diffusion_model)[0]
        yield from probe.probes(bound)
        for one in bound.stacks:
            for block in range(one.depth):
                yield f"{one.stack.name or 'block'}, whole", tuple(one.sites), block


def tenths(damages: list[float]) -> dict:
    """Mean of the worst and of the best tenth, the median, and how they stand to one another."""
    ordered = sorted(damages, reverse=True)
    count = max(1, len(ordered) // 10)
    worst, best, middle = statistics.mean(ordered[:count]), statistics.mean(ordered[-count:]), statistics.median(ordered)
    return {"worst_tenth": worst, "median": middle, "best_tenth": best, "worst_over_best": worst / best,
            "worst_over_median": worst / middle}


def measure(subject, pictures: int, count: int, steps: int) -> dict:
    """Of one model: per noise level what its tokens, its modules and its blocks do."""
    rows = []
    for seed, label in enumerate(subject.ask(pictures)):
        trial = Trial(subject, steps, label, seed)
        whole = trial.residuals[trial.moments[0]][0].shape[1]
        chosen = torch.randperm(whole, generator=torch.Generator().manual_seed(seed))[:count]
        parts = list(trial.parts())
        for moment in tqdm(trial.moments, desc=f"{subject.name}, picture {seed + 1}"):
            tokens = trial.tokens(moment, chosen)
            modules: dict[str, list[float]] = {}
            for name, sites, block in parts:
                modules.setdefault(name, []).append(trial.sites(moment, sites, block))
            rows.append({"picture": seed, "step": moment, "noise": float(trial.sigmas[moment]), "nothing": trial.damage(moment, None)[0],
                         "tokens": tokens, "chosen": chosen.tolist(), **tenths(tokens), "modules": modules})
    return {"model": subject.file.stem, "steps": steps, "stale": STALE, "of": whole, "rows": rows}


def lines(report: dict) -> list[list[str]]:
    found = [["model", "step", "noise", "picture", "tokens: worst tenth", "median", "best tenth", "worst / best", "worst / median",
              "modules: worst / best tenth", "most harmful module"]]
    for model in report["models"]:
        for row in model["rows"]:
            single = {(name, block): value for name, values in row["modules"].items() if not name.endswith("whole")
                      for block, value in enumerate(values)}
            (name, block), _ = max(single.items(), key=lambda item: item[1])
            found.append([model["model"], f"{row['step']} of {model['steps']}", f"{row['noise']:.2f}", str(row["picture"] + 1),
                          *(f"{row[name]:.1e}" for name in ("worst_tenth", "median", "best_tenth")),
                          *(f"{row[name]:.0f}" for name in ("worst_over_best", "worst_over_median")),
                          f"{tenths(list(single.values()))['worst_over_best']:.0f}", f"{name}, block {block + 1}"])
    return found


def draw(report: dict, path: Path):
    """Each model's tokens, from the most harmful on, and its modules by block."""
    models = report["models"]
    figure = Figure(figsize=(13, 4.6 * len(models)), layout="constrained")
    for (left, right), model in zip(figure.subplots(len(models), 2, squeeze=False), models, strict=True):
        for row in model["rows"]:
            damages = sorted(row["tokens"], reverse=True)
            left.plot([100 * (index + 0.5) / len(damages) for index in range(len(damages))], damages,
                      label=f"noise level {row['noise']:.2f}, picture {row['picture'] + 1}")
        left.set(yscale="log", xlabel="share of the tokens, most harmful first [%]", ylabel="damage to the picture (RMS)",
                 title=f"{model['model']}: one token, {model['stale']} steps old")
        left.legend(fontsize=8)
        names = list(model["rows"][0]["modules"])
        for name in names:
            mean = [statistics.mean(values) for values in zip(*(row["modules"][name] for row in model["rows"]), strict=True)]
            right.plot(range(1, len(mean) + 1), mean, marker="o", label=name, linestyle="--" if name.endswith("whole") else "-")
        right.set(yscale="log", xlabel="block", ylabel="damage to the picture (RMS), mean", title="one module of one block, all its tokens")
        right.legend(fontsize=8)
        for axis in (left, right):
            axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def save(report: dict, out: Path):
    out.mkdir(parents=True, exist_ok=True)
    draw(report, out / "sensitivity.png")
    where = f"{report['machine']}; torch {report['torch']}, ComfyUI {report['host']}; {report['date']}"
    what = " ".join(__doc__.split("\n\n")[2].split())
    text = (f"# How much one cached token, module or block harms the picture\n\n{what}\n\n"
            f"Old by {STALE} steps, guidance {GUIDANCE:g}, Euler; {where}. Written by `python run.py sensitivity`.\n\n"
            f"![Damage, token by token and block by block](sensitivity.png)\n\n")
    (out / "sensitivity.md").write_text(text + tables.markdown(lines(report)), encoding="utf-8")


def main():
    parser = pages.parser_of("sensitivity", __doc__)
    parser.add_argument("--model", choices=SUBJECTS, nargs="+", default=list(SUBJECTS), help="of the demo (default all)")
    parser.add_argument("--pictures", type=int, default=2, help="of each model (default 2)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens that are tried in each picture (default 64)")
    parser.add_argument("--steps", type=int, default=30, help="default 30")
    given = parser.parse_args()
    report = {**demo_quality.surroundings(),
              "models": [measure(SUBJECTS[name], given.pictures, given.tokens, given.steps) for name in given.model]}
    pages.deliver(given, "sensitivity", report, save, lines(report), "Damage to the finished picture")


if __name__ == "__main__":
    main()
