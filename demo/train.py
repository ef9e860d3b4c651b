"""Train a model of the demo again: `shapes_task.py`, `scenes_task.py` and `clips_task.py` say what each learns, and how.

    python run.py train [--model scenes | frames | clips] [--minutes 120] [--out FILE] [--resume FILE] [--threads N]
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch

from demo import clips_model, clips_task, scenes_task, shapes_task, training
from demo.subjects import SUBJECTS

TASKS = {"shapes": shapes_task.TASK, "scenes": scenes_task.TASK, "frames": clips_task.FRAMES, "clips": clips_task.TASK}
FILES = {**{name: subject.file for name, subject in SUBJECTS.items()}, "frames": clips_model.FILE, "clips": clips_model.FILE}


def main():
    parser = argparse.ArgumentParser(prog="run.py train", description="Train a model of the demo again.")
    parser.add_argument("--model", choices=TASKS, default="shapes", help="which of the demo's models (default shapes)")
    parser.add_argument("--minutes", type=float, default=120, help="default 120")
    parser.add_argument("--batch", type=int, default=8, help="pictures at a time (default 8)")
    parser.add_argument("--peak", type=float, default=8e-4, help="highest learning rate (default 8e-4)")
    parser.add_argument("--out", help="where the weights go (default: in place of the model's file)")
    parser.add_argument("--resume", help="go on from these weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    out = given.out or str(FILES[given.model])
    training.train(TASKS[given.model], given.minutes, given.batch, out, given.resume, given.seed, given.peak)


if __name__ == "__main__":
    main()
