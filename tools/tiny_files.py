"""Write small stand-ins with random weights for the models that the FLUX and Open-Sora workflows load.

    python run.py tiny FOLDER

FOLDER is a models folder of ComfyUI, or any other laid out like one. Whatever they draw is noise, but every node runs.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))        # last, or the project's nodes/ would hide the host's nodes.py
from tools.pack import load_host

load_host()
from tools.tiny import tiny_flux, tiny_open_sora
from tools.tiny_text import tiny_clip
from tools.tiny_vae import tiny_open_sora_vae, tiny_vae

FILES = {
    "diffusion_models/tiny_flux.safetensors": tiny_flux,
    "diffusion_models/tiny_open_sora.safetensors": tiny_open_sora,
    "text_encoders/tiny_clip.pt": tiny_clip,
    "vae/tiny_flux_vae.pt": lambda path: tiny_vae(path, channels=16),
    "vae/tiny_open_sora_vae.safetensors": tiny_open_sora_vae,
}


def write(folder: Path) -> list[Path]:
    """Make every file of FILES below `folder`, over any of the same name."""
    paths = [Path(folder) / name for name in FILES]
    for path, make in zip(paths, FILES.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="run.py tiny", description="Write small stand-ins of the models the workflows load.")
    parser.add_argument("folder", type=Path, help="a models folder, such as ComfyUI/models")
    for path in write(parser.parse_args().folder):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
