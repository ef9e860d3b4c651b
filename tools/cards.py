"""The pictures in the template browser of the workflows whose models are too large to run here: what the cache does, as a drawing.

    python run.py cards

A bar for every step, tall where the model is computed, short where it is forecast, and the model's name. Those of the demos are what
they draw (`run.py demo --thumbnails`).
"""

from pathlib import Path

from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
# Name of the workflow -> (title, second line, steps, those that are computed)
CARDS = {
    "flux_dev": ("FLUX.1-dev", "text to image", 20, (0, 1, 2, 4, 6, 9, 12, 15, 18)),
    "flux_dev_ratios": ("FLUX.1-dev", "ratios of every block", 20, tuple(range(0, 20, 3))),
    "qwen_image": ("Qwen-Image", "text to image", 20, (0, 1, 2, 4, 6, 9, 12, 15, 18)),
    "qwen_image_edit": ("Qwen-Image Edit", "picture to picture", 40, (0, 1, 2, 4, 6, 9, 12, 16, 20, 24, 28, 32, 36)),
    "flux2_dev": ("FLUX.2-dev", "text to image", 20, (0, 1, 2, 4, 6, 9, 12, 15, 18)),
    "z_image_turbo": ("Z-Image Turbo", "text to image", 8, (0, 1, 2, 4, 6, 7)),
    "chroma": ("Chroma", "text to image", 26, (0, 1, 2, 4, 6, 9, 12, 16, 20, 24)),
    "sd35_large": ("Stable Diffusion 3.5", "text to image", 30, (0, 1, 2, 4, 6, 9, 12, 16, 20, 24, 28)),
    "sdxl": ("SDXL", "text to image", 30, (0, 1, 2, 4, 6, 9, 12, 16, 20, 24, 28)),
    "wan22_text_to_video": ("Wan 2.2", "text to video", 20, (0, 1, 2, 4, 7, 10, 11, 12, 14, 17, 19)),
    "hunyuan_video_15": ("HunyuanVideo 1.5", "text to video", 20, (0, 1, 2, 4, 6, 9, 12, 15, 18)),
    "hunyuan_video_15_ratios": ("HunyuanVideo 1.5", "ratios of every block", 20, tuple(range(0, 20, 3))),
    "ltx2": ("LTX-2", "text to video with sound", 20, (0, 1, 2, 4, 6, 9, 12, 15, 18)),
    "load_pixart": ("PixArt", "text to image", 20, (0, 3, 6, 9, 12, 15, 18)),
    "load_dit": ("DiT-XL/2", "class to image", 50, tuple(range(0, 50, 4))),
    "load_open_sora": ("Open-Sora 1.2", "text to video", 30, tuple(range(0, 30, 3))),
    "load_open_sora_image_to_video": ("Open-Sora 1.2", "image to video", 30, tuple(range(0, 30, 3))),
}
GROUND, PAPER, COMPUTED, FORECAST = "#16212b", "#f2efe6", "#0072B2", "#56B4E9"             # after Okabe and Ito, as in the node's panel


def card(title: str, kind: str, steps: int, computed: tuple[int, ...]) -> Figure:
    """512 pixels square."""
    figure = Figure(figsize=(5.12, 5.12), dpi=100, facecolor=GROUND)
    bars = figure.add_axes((0.1, 0.2, 0.8, 0.42))
    heights = [1.0 if step in computed else 0.32 for step in range(steps)]
    bars.bar(range(steps), heights, width=0.72, color=[COMPUTED if step in computed else FORECAST for step in range(steps)])
    bars.set_axis_off()
    figure.text(0.1, 0.83, title, color=PAPER, fontsize=25, fontweight="bold", va="center")
    figure.text(0.1, 0.74, kind, color=PAPER, fontsize=15, va="center")
    figure.text(0.1, 0.11, "computed", color=COMPUTED, fontsize=13, fontweight="bold", va="center")
    figure.text(0.36, 0.11, "forecast by ToCa Cache", color=FORECAST, fontsize=13, fontweight="bold", va="center")
    return figure


def main():
    for name, words in CARDS.items():
        card(*words).savefig(ROOT / "workflows" / f"{name}.jpg", format="jpg", facecolor=GROUND, pil_kwargs={"quality": 90})


if __name__ == "__main__":
    main()
