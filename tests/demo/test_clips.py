"""The third demo model: its clips, their captions, and the host's Wan class on them, tiny and with random weights."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import clips as bench
from demo import clips, clips_model, clips_task, training
from tools.pack import pack_module

STEPS = 6


def drawn(kind, count=20):
    words = clips.choose(count, torch.Generator().manual_seed(3), kind=kind)
    return words, clips.draw(words, torch.Generator().manual_seed(4))


def test_what_moves_in_each_kind():
    """Of a still clip a disc, of the others more, and all of one that pans over a ground with waves."""
    shares = {kind: bench.moving(drawn(kind)[1]).float().mean().item() for kind in clips.KINDS}
    assert 0.02 < shares["still"] < 0.2 and shares["still"] < shares["busy"] < shares["pan"] and shares["pan"] > 0.4


def test_a_drawn_clip_shows_what_it_was_asked_for():
    words, shown = drawn("still", 40)
    assert sum(clips.shown(clip, row) for clip, row in zip(shown, words, strict=True)) >= 34     # another disc may lie over it
    back = clips.indices([clips.caption(row).replace("left", "*").replace("right", "left").replace("*", "right") for row in words])
    sideways = words[:, 2] != back[:, 2]
    assert sideways.any() and not any(clips.shown(clip, row) for clip, row in zip(shown[sideways], back[sideways], strict=True))


def test_captions_and_indices_are_the_same():
    words = clips.choose(50, torch.Generator().manual_seed(1))
    assert torch.equal(clips.indices([clips.caption(row) for row in words]), words)
    assert clips.indices([""]).tolist() == [[clips.NOTHING] * 3] and clips.embed(clips.indices([""])).abs().max() == 0


@pytest.mark.parametrize("caption", ["still", "red still left", "still red sideways", "still red left left"])
def test_what_no_clip_shows_is_refused(caption):
    with pytest.raises(ValueError, match="is no clip such as 'still red left'"):
        clips.indices([caption])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of the size that the task trains, its last layers and gates not zero."""
    torch.manual_seed(0)
    model, path = clips_task.build(torch.device("cpu")), tmp_path_factory.mktemp("clips") / "clips.safetensors"
    for weight in (model.head.head.weight, model.time_projection[1].weight):
        torch.nn.init.normal_(weight, std=0.02)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return path


def test_single_frames_are_of_clips_and_say_what_these_say():
    frames, (words,) = clips_task.draw_frames(6, torch.Generator().manual_seed(5), torch.device("cpu"))
    assert frames.shape == (6, 3, 1, clips.SIZE, clips.SIZE) and torch.equal(words[:3], words[3:])
    drawn_again = clips_task.draw(3, torch.Generator().manual_seed(5), torch.device("cpu"))[0]
    for first, other, clip in zip(frames[:3], frames[3:], drawn_again, strict=True):
        places = [[torch.equal(frame[:, 0], clip[:, index]) for index in range(clips.FRAMES)].index(True) for frame in (first, other)]
        assert places[0] < places[1]


def test_training_lessens_the_error(tmp_path, short_training):
    """On clips that it did not see, whatever the machine's speed."""
    path = tmp_path / "clips.safetensors"
    training.train(clips_task.TASK, short_training(40), 2, path, warmup=5)
    x0, told = clips_task.draw(8, torch.Generator().manual_seed(6), torch.device("cpu"))
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(7))
    model, t = clips_task.build(torch.device("cpu")), torch.linspace(0.1, 0.9, 8).view(-1, 1, 1, 1, 1)
    with torch.no_grad():
        before = clips_task.error(model, x0, noise, t, told)
        model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
        assert clips_task.error(model, x0, noise, t, told) < 0.8 * before


def test_each_way_of_caching_is_measured(weights, monkeypatch, tmp_path):
    monkeypatch.setattr(clips_model, "FILE", weights)
    rows, shown = bench.measure("still", 1, STEPS)
    assert {(row["family"], row["setting"]) for row in rows} == set(bench.ways())
    by_family = {family: [row for row in rows if row["family"] == family] for family in (bench.ENTIRE, bench.MOVING)}
    assert all(row["flops_speedup"] >= 1 and row["psnr_mean"] > 5 for row in rows)
    assert max(row["flops_speedup"] for row in rows) > 1.2
    # At the loosest tolerance: what moves is computed, so it is nearer to the plain clip and costs more.
    entire, moving = (next(row for row in by_family[family] if row["setting"] == "tolerance 4") for family in by_family)
    assert moving["flops_speedup"] < entire["flops_speedup"]
    told = {"count": 1, "steps": STEPS, "guidance": bench.CFG, "shown": shown, "rows": rows}
    bench.save({**bench.demo_quality.surroundings(), **told}, tmp_path)
    assert "| still | 2x |" in (tmp_path / "clips.md").read_text() and (tmp_path / "clips.png").stat().st_size > 5000


def test_the_host_runs_it_as_any_wan(weights):
    model = clips_model.load_clips(str(weights))
    system = pack_module("nodes.systems").system_of(model.model.diffusion_model)
    assert system.name == "wan" and bench.sample(model, "still red left", 0, 2).shape == (1, 3, clips.FRAMES, clips.SIZE, clips.SIZE)


def test_a_missing_file_comes_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match="is missing: restore it from the repository, or make it with python run.py train"):
        clips_model.load_clips(str(tmp_path / "clips.safetensors"))
