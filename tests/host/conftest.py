"""The real host inside the test process, with small models of the real classes."""

import json
from types import SimpleNamespace

import pytest
import torch

from tools import tiny
from tools.authors import drawn
from tools.pack import ROOT, load_host, pack_module

load_host()
RECORDINGS = {"small": ROOT / "tests" / "recordings", "large": ROOT.parent / "shared" / "golden"}     # the large ones only some have


@pytest.fixture(scope="session")
def pack():
    """The pack's modules that tests speak to."""
    return SimpleNamespace(
        dit_loader=pack_module("nodes.models.dit_loader"), pixart=pack_module("nodes.models.pixart"),
        stdit3_loader=pack_module("nodes.models.stdit3_loader"),
        loading=pack_module("nodes.models.loading"), systems=pack_module("nodes.systems"),
        seam=pack_module("nodes.host.seam"), run=pack_module("toca_core.run"),
        settings=pack_module("nodes.host.settings"), config=pack_module("toca_core.config"),
        presets=pack_module("toca_core.presets"), published=pack_module("toca_core.published"),
        block_ratios=pack_module("nodes.host.block_ratios"))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Weights on disk: name -> path."""
    from safetensors.torch import save_file
    folder = tmp_path_factory.mktemp("checkpoints")
    classes = json.dumps(["ant", "bee", "cat", "dog", "elk"])
    save_file(tiny.dit_weights(), folder / "dit.safetensors", {"num_heads": "4", "class_names": classes})
    save_file(tiny.pixart_weights(), folder / "pixart.safetensors", {"num_heads": "4"})
    tiny.tiny_open_sora(folder / "open_sora.safetensors", caption=32, tokens=12)
    tiny.tiny_flux(folder / "flux.safetensors", context=32, pooled=16)
    return {path.stem: str(path) for path in folder.iterdir()}


@pytest.fixture(scope="session")
def weights():
    return SimpleNamespace(dit=tiny.dit_weights, pixart=tiny.pixart_weights)


@pytest.fixture(scope="session", params=RECORDINGS)
def recording(request, tmp_path_factory):
    """recording(name) -> (weights, inputs and outputs): the files of a run of the authors' code (docs/faithfulness.md)."""
    folder, whole = RECORDINGS[request.param], tmp_path_factory.mktemp("recordings")
    if request.param == "large" and not folder.is_dir():
        pytest.skip(f"the large recordings are not here: {folder}")

    def files(name):
        return drawn.written_out(folder / f"{name}.weights.safetensors", whole), folder / f"{name}.io.safetensors"
    return files


def checked_model(name):
    """The tiny model of `run.py models` of that name, or a skip where this host has not its class."""
    from tools import zoo
    from tools.models import Checked, failure
    from tools.zoo.building import NotInThisHost
    try:
        return Checked(zoo.builders()[name])
    except NotInThisHost as error:
        pytest.skip(failure(error))


def answers_to_one_input(model, noise, conditioning, cfg: float):
    """What a MODEL says of the same input at two steps in a row, through the host's guider. conditioning: (positive, negative)"""
    import comfy.samplers
    answers = []

    class Repeat(comfy.samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False):
            answers.extend(model_wrap(noise, sigmas[:1].expand(len(noise)), **extra_args).clone() for _ in range(2))
            return latent_image

    sigma = model.get_model_object("model_sampling").percent_to_sigma(0.4)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conditioning)
    guider.set_cfg(cfg)
    with torch.inference_mode():
        guider.sample(noise, torch.zeros_like(noise), Repeat(), torch.tensor([sigma, sigma, 0.0]), disable_pbar=True, seed=0)
    return answers


class Subject:
    """A loaded model with conditioning that fits it."""

    def __init__(self, name, model, positive, negative, frames=()):
        self.name, self.model, self.positive, self.negative, self.frames = name, model, positive, negative, frames
        self.known = {}                                             # runs that several tests compare with

    @property
    def diffusion_model(self):
        return self.model.model.diffusion_model

    def sample(self, model=None, seed=3, steps=9, cfg=3.0, sampler="euler", scheduler="normal", batch=1, size=(16, 16), denoise=1.0,
               callback=None, latent=None, **options):
        """The host's own KSampler path -> latent (B, C, H, W)."""
        import comfy.sample
        channels = self.model.model.latent_format.latent_channels
        latent = torch.zeros(batch, channels, *self.frames, *size) if latent is None else latent
        noise = comfy.sample.prepare_noise(latent, seed)
        with torch.inference_mode():
            return comfy.sample.sample(model or self.model, noise, steps, cfg, sampler, scheduler, self.positive, self.negative, latent,
                                       denoise=denoise, disable_pbar=True, callback=callback, seed=seed, **options).clone()

    def plain(self, **options):
        """What the model gives without the node, sampled once for all tests that compare with it."""
        return self.once(("plain", sorted(options.items())), lambda: self.sample(**options)).clone()

    def once(self, key, run):
        """What run() gives, or has given for the same key."""
        if repr(key) not in self.known:
            self.known[repr(key)] = run()
        return self.known[repr(key)]

    def twice(self, model, cfg=3.0, batch=2, size=(16, 16)):
        """The model's answers to the same input at two steps in a row."""
        shape = (batch, self.model.model.latent_format.latent_channels, *self.frames, *size)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(6))
        return answers_to_one_input(model, noise, (self.positive, self.negative), cfg)


@pytest.fixture(scope="session", params=["dit", "pixart", "open_sora", "flux"])
def subject(request, pack, checkpoints):
    """A tiny model of each system with random weights, through the loader its users take."""
    return make_subject(request.param, pack, checkpoints)


def make_subject(name, pack, checkpoints, dtype=torch.float32):
    """dtype: of FLUX."""
    if name == "dit":
        conditioning = pack.dit_loader.conditioning
        return Subject(name, pack.dit_loader.load_dit(checkpoints[name]), conditioning([1, 3]), conditioning([5]))
    generator = torch.Generator().manual_seed(1)
    captions = torch.randn(2, 1, 12, 32, generator=generator)
    if name == "flux":
        import comfy.sd
        pooled = torch.randn(2, 1, 16, generator=generator)
        texts = [[[caption, {"pooled_output": vector, "guidance": 3.5}]] for caption, vector in zip(captions, pooled, strict=True)]
        return Subject(name, comfy.sd.load_diffusion_model(checkpoints[name], {"dtype": dtype}), *texts)
    texts = [[[caption, {}]] for caption in captions]
    if name == "open_sora":
        return Subject(name, pack.stdit3_loader.load_stdit3(checkpoints[name]), *texts, frames=(3,))
    return Subject(name, pack.pixart.load_pixart(checkpoints[name]), *texts)


@pytest.fixture(scope="session")
def tiny_dit(pack, checkpoints):
    return make_subject("dit", pack, checkpoints)


@pytest.fixture(scope="session")
def demo(pack):
    """The demo model that ships with the pack."""
    from tools.pack import ROOT
    conditioning = pack.dit_loader.conditioning
    model = pack.dit_loader.load_dit(str(ROOT / "demo/shapes_dit.safetensors"))
    return Subject("demo", model, conditioning([0, 15, 10, 5]), conditioning([16]))


@pytest.fixture
def user_files(tmp_path, monkeypatch):
    """`nodes.host.user_files` with a user folder of its own, in which there is one for presets."""
    import folder_paths
    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path))
    files = pack_module("nodes.host.user_files")
    files.folder("presets").mkdir(parents=True)
    return files


@pytest.fixture
def cached(pack):
    """cached(subject, preset="custom", **settings) -> (a MODEL with ToCa, the list its runs' reports go to)."""
    def install(subject, preset="custom", **settings):
        score = settings.pop("score", None) or pack.settings.score_of("auto", pack.systems.system_of(subject.diffusion_model).layout)
        config = pack.config.ToCaConfig(**{"fresh_ratio": 0.3, "cycle": 3, "spread_bonus": 0.4, "score": score, **settings})
        reports = []
        model = pack.seam.install(subject.model, pack.settings.Settings(preset, config), reports.append)
        return model, reports
    return install
