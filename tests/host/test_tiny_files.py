"""The small text encoder and the small VAE that stand in for the released ones: the host takes them to the last key."""

import logging

import pytest
import torch

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
