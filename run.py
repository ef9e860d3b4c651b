"""Run the pack against a ComfyUI, which is found, or else downloaded into .host/ the first time (about 6 GB).

    python run.py demo                          show what the pack does, with pictures and figures
    python run.py test [pytest arguments]       run the tests, in some ten minutes: not every case, but every line and branch that all run
    python run.py test --all                    run every case of every test (half an hour)
    python run.py test --matrix [--only NAME ...] [--json FILE] [--quick]   tiny models in every graph: other nodes, settings, models
    python run.py serve [--port N]              start ComfyUI with only this pack loaded
    python run.py replay WEIGHTS IO [--json]    replay a recorded run of the authors' code and compare
    python run.py record REPOSITORY [--out DIR] record such runs anew, from a checkout of the authors' repository
    python run.py bench [--quick] [--json FILE] quality and speed on a demo model, beside solvers and other caches
    python run.py widths [--json FILE]          wall-clock against counted FLOPs at the widths of PixArt, Open-Sora and FLUX
    python run.py gpu [--compile] [--json FILE] the same for FLUX, Qwen-Image and Wan at full size on a graphics card, beside EasyCache
    python run.py compiling [--json FILE]       torch.compile before and after ToCa Cache: graphs, breaks, equality, on tiny models
    python run.py inpainting [--json FILE]      masked tokens at every step against caching whole steps, on the demo model
    python run.py scoring [--json FILE]         what scores cost, and how well sampled ones rank the tokens
    python run.py sensitivity [--json FILE]     how much one cached token, module or block harms the picture, on the demo's models
    python run.py oracles [--json FILE]         what computing single tokens between full steps could gain at best, on the demo's models
    python run.py clips [--json FILE]           token by token on a small video model, where the background stands still and where not
    python run.py shares [--json FILE]          shares of fresh tokens by measured sensitivity, beside flat ones, a slope and chance
    python run.py places [--json FILE]          what the places of the computed steps are worth, beside places found by outcome
    python run.py calibration [--json FILE]     what ToCa Calibrate chooses, tried on pictures that it has not seen
    python run.py models [--json FILE]          which models are cached at which level, and whether it is right: tiny models of every class
    python run.py memory [arguments]            memory that decoding a video with Open-Sora's VAE takes, with random weights
    python run.py check [--model scenes]        ask a demo model for 200 pictures and read back what they show
    python run.py train [--model scenes]        train a small model of the demo again
    python run.py tiny FOLDER                   write tiny FLUX and Open-Sora models with random weights into a models folder
    python run.py screenshots [--out DIR]       take the pictures of the nodes that the help pages show
    python run.py soak [--prompts 200] [--json FILE]    one server, hundreds of prompts by two clients: memory, open files, pictures
    python run.py templates [FOLDER] [--json FILE] [--only NAME ...] [--accept-only]    the host's own templates with ToCa Cache in them
    python run.py mutants [--breaks 60] [--json FILE]   break one line at a time and see whether the tests notice
    python run.py quick [--check]               choose anew which cases the quick run of the tests leaves out
    python run.py cards                         draw the pictures of the workflows for large models in the template browser
    python run.py docs [--check]                write the pages of docs/ that come from the code: settings, table of models

    --host VERSION        the ComfyUI to download and use, before or after the command; tests are then the smoke tests
    --frontend VERSION    the front end to download and use in place of the host's own, such as 1.58.1 or newest

Tests run in three processes, unless the arguments name test files, say how many (-n 4), or want one (-p no:xdist, --pdb, -s).
Where the arguments choose tests by path, -k or -m, every case of these runs.

The ComfyUI used is the one in the environment variable COMFYUI_PATH, else the one whose custom_nodes folder holds
this project, else the downloaded one.
"""
# This file stays readable to Python 3.6, so that it can say what is wrong; the modern code is in tools/.
import os
import sys

SCRIPTS = {
    "demo": "demo/run_demo.py",
    "serve": "tools/server.py",
    "replay": "tools/replay.py",
    "record": "tools/record.py",
    "train": "demo/train.py",
    "check": "demo/check.py",
    "bench": "benchmarks/demo_quality.py",
    "widths": "benchmarks/true_widths.py",
    "gpu": "benchmarks/gpu.py",
    "compiling": "benchmarks/compiling.py",
    "inpainting": "benchmarks/inpainting.py",
    "scoring": "benchmarks/scoring.py",
    "sensitivity": "benchmarks/sensitivity.py",
    "oracles": "benchmarks/oracles.py",
    "clips": "benchmarks/clips.py",
    "shares": "benchmarks/shares.py",
    "places": "benchmarks/places.py",
    "calibration": "benchmarks/calibration.py",
    "memory": "benchmarks/open_sora_vae_memory.py",
    "models": "tools/models.py",
    "tiny": "tools/tiny_files.py",
    "screenshots": "tools/screenshots.py",
    "soak": "tools/soak.py",
    "templates": "tools/templates/run_templates.py",
    "mutants": "tools/mutants.py",
    "quick": "tools/quick_tests.py",
    "docs": "tools/docs.py",
    "cards": "tools/cards.py",
}


MATRIX, MATRIX_SCRIPT = "--matrix", "tools/matrix/run_matrix.py"
PARALLEL = ["-n", "3"]  # one of them mostly waits for a browser; tests/conftest.py says which tests stay together
EVERY = "--all"
ALONE = ("-n", "--numprocesses", "no:xdist", "-pno:xdist", "--pdb", "-s", "--collect-only")  # each rules them out


def refusal(version_info):
    """The sentence for a Python that is too old, or None."""
    found = tuple(version_info[:2])
    if found >= (3, 10):
        return None
    return f"This needs Python 3.10 or newer, and this is Python {found[0]}.{found[1]}: run it with a newer one."


def take_option(name, arguments):
    """Split `NAME VERSION` off, wherever it stands: (version or None, the other arguments)."""
    version, others = None, []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == name:
            version = next(remaining, "")
        elif argument.startswith(name + "="):
            version = argument[len(name) + 1:]
        else:
            others.append(argument)
    return version, others


def command_line(command, arguments, smoke):
    """What the host's Python is to run for one command of ours."""
    if command != "test":
        return [SCRIPTS[command]] + arguments
    if MATRIX in arguments:
        return [MATRIX_SCRIPT] + [argument for argument in arguments if argument != MATRIX]
    marked = any(argument.startswith("-m") for argument in arguments)
    chosen = marked or smoke or EVERY in arguments or any(argument.startswith(("-k", "--lf", "tests")) for argument in arguments)
    parallel = [] if any(argument.startswith(ALONE) or ".py" in argument for argument in arguments) else PARALLEL
    options = (["-m", "smoke"] if smoke and not marked else []) + ([] if chosen else ["--quick"])
    return ["-m", "pytest"] + parallel + options + [argument for argument in arguments if argument != EVERY]


def main(arguments):
    version, arguments = take_option("--host", arguments)
    front_end, arguments = take_option("--frontend", arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0
    command, arguments = arguments[0], arguments[1:]
    if command != "test" and command not in SCRIPTS:
        return f"There is no command '{command}'; the commands are test, {', '.join(SCRIPTS)} (python run.py --help)."

    from tools import environment, front_ends

    try:
        host = environment.find(version)
        if front_end is not None:
            os.environ[front_ends.VARIABLE] = str(front_ends.find(front_end, host.python))
        if command == "test":
            environment.require_pytest(host)
        smoke = version not in (None, environment.DEFAULT_VERSION)
        return environment.run(host, command_line(command, arguments, smoke))
    except environment.SetupError as error:
        return str(error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")  # or a demo piped into a file would look stuck
    sys.exit(refusal(sys.version_info) or main(sys.argv[1:]))
