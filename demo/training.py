"""How the demo's models are trained: rectified flow at logit-normal times (Esser et al., 2024), shifted towards noise, where place and
shape are decided; AdamW, moving average of the weights, bf16 autocast where the machine computes in bf16.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from tools.pack import load_host

load_host(cpu=not torch.cuda.is_available())
import comfy.cli_args
import comfy.model_management

comfy.cli_args.args.use_pytorch_cross_attention = True              # fused attention, also on a CPU
TIME_MEAN = 1.1         # of the times' logit
SHORTEST_PERIOD = 200   # of a time feature in use, where 1000 is the whole run
DROPPED = 0.1           # share of the pictures that come without what they show, for guidance
POOL = 16               # batches drawn at a time
SAVED = 0.05            # of the run, between two saved files


@dataclass(frozen=True)
class Task:
    """One model to train.

    build       device -> the network, with its first weights
    draw        (count, generator, device) -> pictures or clips (count, 3, [frames,] H, W) in -1..1, and a tuple of what the network is
                told, count each
    drop        (what the network is told, which (count,) bool) -> the same with nothing said in those places
    error       (network, x0, noise, t (B, 1, ...), what it is told) -> the error to be lessened, in the velocity
    time_weight network -> the first weight of its time embedding
    metadata    of the file
    """
    build: Callable
    draw: Callable
    drop: Callable
    error: Callable
    time_weight: Callable
    metadata: dict[str, str]


@torch.no_grad()
def initialise(model, small, heads):
    """The DiT paper's start: Xavier weights, those of `small` from a narrow normal, `heads` (the branches' gates, the output) at zero."""
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            torch.nn.init.xavier_uniform_(module.weight.flatten(1))
            torch.nn.init.zeros_(module.bias)
    for weight in small:
        torch.nn.init.normal_(weight, std=0.02)
    for head in heads:
        torch.nn.init.zeros_(head.weight)


def slow_features(frequencies: int, max_period: int = 10000):
    """Which of the host's time features (cosines, then sines) the network may use: (2 * frequencies,), 1 or 0.

    Faster ones tell nothing about the picture, and so short a training leaves their first random weights standing: with them the
    features of neighbouring steps differ at random, by 4% on the first model, where what the steps do to them makes 1%.
    """
    rates = torch.exp(-math.log(max_period) * torch.arange(frequencies) / frequencies)
    return (2 * math.pi / rates >= SHORTEST_PERIOD).float().repeat(2)


def use_slow_features(weight):
    """Set the others to zero in the time embedding's first weight, and keep them there."""
    slow = slow_features(weight.shape[1] // 2).to(weight.device)
    weight.data.mul_(slow)
    weight.register_hook(lambda gradient: gradient * slow)


def batches(task: Task, batch: int, device, generator):
    """Endless (pictures, what the network is told)."""
    while True:
        pictures, told = task.draw(batch * POOL, generator, device)
        told = task.drop(told, torch.rand(len(pictures), generator=generator, device=device) < DROPPED)
        yield from zip(pictures.split(batch), zip(*(part.split(batch) for part in told), strict=True), strict=True)


def autocast(device):
    """bf16, but not on a CPU without AVX-512, which computes it more slowly than float32."""
    fast = device.type != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability()
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def save(ema, path, metadata):
    partial = Path(f"{path}.partial")
    save_file({name: value.half().cpu().contiguous() for name, value in ema.items()}, partial, {"format": "pt", **metadata})
    partial.replace(path)                                           # whoever reads the file meanwhile finds it whole


def train(task: Task, minutes, batch, out, resume=None, seed=0, peak=8e-4, warmup=200):
    """`minutes` of `batch` pictures at a time, the rate falling from `peak` after `warmup` steps; the weights' average goes to `out`."""
    comfy.model_management.in_training = True                       # rotary embeddings that have gradients
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    generator = torch.Generator(device=device).manual_seed(seed)
    model = task.build(device).train()
    if resume:
        model.load_state_dict({name: value.float() for name, value in load_file(resume).items()})
    use_slow_features(task.time_weight(model))
    weights = dict(model.named_parameters())
    trained = [weight for weight in weights.values() if weight.requires_grad]
    ema = {name: weight.detach().clone() for name, weight in weights.items()}
    optimiser = torch.optim.AdamW(trained, lr=peak, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    forward = torch.compile(model)

    start, recent, step, saved = None, [], 0, 0
    for x0, told in batches(task, batch, device, generator):
        done = 0.0 if start is None else (time.time() - start) / (60 * minutes)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1, (step + 1) / warmup) * (0.5 + 0.5 * math.cos(math.pi * done))
        noise = torch.randn(x0.shape, generator=generator, device=device)
        times = torch.randn(len(x0), *[1] * (x0.ndim - 1), generator=generator, device=device)
        t = torch.sigmoid(times + TIME_MEAN)                        # 1 is pure noise
        with autocast(device):
            loss = task.error(forward, x0, noise, t, told)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        torch._foreach_lerp_(list(ema.values()), [w.detach() for w in weights.values()], max(2e-3, 10 / (10 + step)))

        start = start or time.time()                                # compiling is not training
        recent.append(loss.detach())
        if step % 100 == 0:
            print(f"step {step}  pictures {step * batch}  {100 * done:.0f}%  error {torch.stack(recent).mean():.4f}", flush=True)
            recent.clear()
        if done - saved > SAVED:
            save(ema, out, task.metadata)
            saved = done
    save(ema, out, task.metadata)
    print(f"{out}: {step} steps, {step * batch} pictures")
