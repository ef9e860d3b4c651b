"""The small files that stand in for the released ones: the host, or our own loader, takes them to the last key."""

import logging
import subprocess
import sys

import pytest
import torch

from tools.pack import ROOT, pack_module
from tools.tiny_files import FILES
from tools.tiny_text import tiny_clip
from tools.tiny_vae import tiny_vae


@pytest.mark.parametrize("kind", ["STABLE_DIFFUSION", "PIXART", "FLUX"])
def test_the_text_encoder(tmp_path, caplog, kind):
    import comfy.sd
    path = tiny_clip(tmp_path / "text.pt")
    assert path.stat().st_size < 4e6
    with caplog.at_level(logging.DEBUG):
        clip = comfy.sd.load_clip([str(path)], clip_type=comfy.sd.CLIPType[kind])
    assert not [line for line in caplog.messages if line.startswith(("clip missing", "clip unexpected"))]
    encoded = [clip.encode_from_tokens(clip.tokenize(text), return_pooled=True) for text in ("a cactus", "a whale", "a cactus")]
    for context, pooled in encoded:
        assert context.shape == (1, 77, 768) and pooled.shape == (1, 768)
        assert 0.5 < context.std() < 2 and 0.5 < pooled.std() < 2
    assert torch.equal(encoded[0][0], encoded[2][0])
    assert (encoded[0][0] - encoded[1][0]).norm() > 0.1 * encoded[0][0].norm()


def test_a_text_encoder_is_not_written_in_full(tmp_path):
    with pytest.raises(ValueError, match="text.safetensors.*end the name with .pt"):
        tiny_clip(tmp_path / "text.safetensors")


@pytest.mark.parametrize("channels", [4, 16])
def test_the_vae(tmp_path, caplog, channels):
    import comfy.sd
    import comfy.utils
    with caplog.at_level(logging.DEBUG):
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(tiny_vae(tmp_path / "vae.pt", channels))))
    assert not [line for line in caplog.messages if "VAE keys" in line]
    with torch.inference_mode():
        picture = vae.decode(torch.randn(1, channels, 6, 8, generator=torch.Generator().manual_seed(0)))
    assert picture.shape == (1, 48, 64, 3) and picture.std() > 0.1


def test_the_command_writes_files_that_the_loaders_take(tmp_path, pack, caplog):
    import comfy.sd
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "tiny_files.py"), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    assert made.keys() == FILES.keys() and all(path.stat().st_size < 40e6 for path in made.values())
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [str(tmp_path / name) for name in FILES]
    with caplog.at_level(logging.DEBUG):
        flux = comfy.sd.load_diffusion_model(str(made["diffusion_models/tiny_flux.safetensors"]))
    assert not [line for line in caplog.messages if "missing" in line or "left over" in line]
    open_sora = pack.stdit3_loader.load_stdit3(str(made["diffusion_models/tiny_open_sora.safetensors"]))
    assert [pack.systems.system_of(model.model.diffusion_model).name for model in (flux, open_sora)] == ["flux", "open_sora"]
    vae = pack_module("nodes.models.open_sora_vae").load_open_sora_vae(str(made["vae/tiny_open_sora_vae.safetensors"]))
    with torch.inference_mode():
        frames = vae.decode(torch.randn(1, 4, 5, 4, 6, generator=torch.Generator().manual_seed(0)))
    assert frames.shape == (1, 17, 32, 48, 3) and frames.std(dim=(2, 3)).min() > 0.02           # every frame shows something
    assert ((frames > 0) & (frames < 1)).float().mean() > 0.5                                   # most of it in range, not cut off
