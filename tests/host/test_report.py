"""What runs leave to read: the run log, ToCa Report and ToCa Token Map, inside the host's process."""

import json
import re
from types import SimpleNamespace

import pytest
import torch

from .conftest import Subject, make_subject

PROMPT = {"cache": {"class_type": "ToCaCache", "inputs": {}},
          "first": {"class_type": "KSampler", "inputs": {"model": ["cache", 0]}},
          "second": {"class_type": "KSampler", "inputs": {"model": ["cache", 0], "latent_image": ["first", 0], "steps": 3}},
          "other": {"class_type": "KSampler", "inputs": {"model": ["cache", 0]}},
          "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["second", 0]}},
          "show": {"class_type": "ToCaReport", "inputs": {"model": ["cache", 0], "after": ["decode", 0]}},
          "apart": {"class_type": "ToCaReport", "inputs": {"model": ["cache", 0], "after": ["other", 0]}}}
SETTINGS = {"fresh_ratio": 0.3, "cycle": 3}
TOLERANT = {"level": "stack", "tolerance": 20.0}


@pytest.fixture(scope="module")
def show():
    from tools.pack import pack_module
    return SimpleNamespace(report=pack_module("nodes.toca_report").ToCaReport, map=pack_module("nodes.toca_token_map").ToCaTokenMap,
                           log_of=pack_module("nodes.host.seam").log_of, log=pack_module("nodes.host.run_log"),
                           tokens=pack_module("nodes.drawing.tokens"))


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    import folder_paths
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))


def in_node(node, run, prompt="1"):
    """What run() gives inside the execution of a node, as the host tells its nodes."""
    from comfy_execution.utils import CurrentNodeContext
    with CurrentNodeContext(prompt, node, None):
        return run()


def executed(kind, node, **inputs):
    """What a node gives, its hidden inputs filled in as the host does."""
    from comfy_api.latest import io
    hidden = {io.Hidden.unique_id: node, io.Hidden.prompt: PROMPT}
    return kind.PREPARE_CLASS_CLONE({"hidden_inputs": hidden}).execute(**inputs)


def shown(kind, node, **inputs):
    """A node's outputs."""
    return executed(kind, node, **inputs).args


@pytest.mark.smoke
def test_two_samplers_in_one_graph_are_told_apart(tiny_dit, cached, show):
    model, reports = cached(tiny_dit, **SETTINGS)
    for node, steps in (("first", 6), ("other", 4), ("second", 5)):
        in_node(node, lambda steps=steps: tiny_dit.sample(model, steps=steps))
    value = object()
    result, text, data, picture = shown(show.report, "show", model=model.clone(), after=value)
    runs = json.loads(data)["runs"]
    assert result is value
    assert [(run["node"], len(run["steps"])) for run in runs] == [("first", 6), ("second", 5)]
    assert runs[0]["steps"] == reports[0].as_dict()["steps"] and runs[0]["flops"] == reports[0].flops
    assert "KSampler, node first" in text and "KSampler, node second" in text and "node other" not in text
    assert picture.ndim == 4 and len(picture) == 1 and picture.shape[3] == 3 and 0 <= picture.min() < picture.max() <= 1
    assert [run["node"] for run in json.loads(shown(show.report, "apart", model=model, after=value)[2])["runs"]] == ["other"]
    assert show.log_of(model).nearest("show", PROMPT).id.sampler == "second"


def test_a_new_prompt_replaces_that_samplers_runs_alone(tiny_dit, cached, show):
    model, _ = cached(tiny_dit, **SETTINGS)
    for node, prompt, steps in (("first", "1", 3), ("second", "1", 3), ("second", "1", 4), ("second", "2", 5), ("made", "2", 2)):
        in_node(node, lambda steps=steps: tiny_dit.sample(model, steps=steps), prompt)
    runs = show.log_of(model).before("show", PROMPT)
    assert [(run.id.sampler, run.id.run, len(run.report.steps)) for run in runs] == [("first", 0, 3), ("second", 0, 5), ("made", 0, 2)]
    in_node("first", lambda: tiny_dit.sample(model, steps=3), "3")
    assert "made" not in [run.id.sampler for run in show.log_of(model).before("show", PROMPT)]     # of an older prompt, in none now


def test_the_log_is_bounded(show):
    log, context = show.log.RunLog(), SimpleNamespace(node_id="a", prompt_id="1")
    for _ in range(2 * show.log.RUNS):
        log.add(show.log.LoggedRun(log.begin(None, context), None, None))
    assert [run.id.run for run in log.runs["a"]] == list(range(show.log.RUNS, 2 * show.log.RUNS))
    for node in range(2 * show.log.SAMPLERS):
        log.add(show.log.LoggedRun(log.begin(None, SimpleNamespace(node_id=str(node), prompt_id="1")), None, None))
    assert len(log.runs) == show.log.SAMPLERS


@pytest.mark.smoke
@pytest.mark.parametrize("settings", [SETTINGS, TOLERANT, {**TOLERANT, "tolerance": 0.0}])
def test_a_report_says_what_happened_and_why(subject, cached, show, settings):
    model, reports = cached(subject, **settings)
    in_node("first", lambda: subject.sample(model, steps=8, batch=2))
    _, text, data, picture = shown(show.report, "show", model=model, after=None)
    [run] = json.loads(data)["runs"]
    report = reports[0]
    assert (picture < 0.5).any() and picture.shape[2] == 840
    assert f"{report.calls('full')} full, {report.calls('partial')} partial" in text and f"{report.flops_speedup:.2f}x" in text
    assert all(step["seconds"] > 0 for step in run["steps"]) and sum(step["seconds"] for step in run["steps"]) < run["seconds"]
    if settings.get("tolerance") == 0:
        assert "Every step is full" in text and "saved" not in text
    else:
        assert "(estimated from its full steps)" in text or not run["calls"]["partial"] or run["estimated_seconds_saved"] <= 0
    if "level" not in settings:
        blocks = report.fresh_by_block()
        assert blocks.keys() == {site.name for site in run_sites(subject)} and max(max(shares) for shares in blocks.values()) > 0


def run_sites(subject):
    from tools.pack import pack_module
    return pack_module("nodes.systems").bound_of(subject.diffusion_model)[0].depths


def said(show, model, words, images, what="recomputed"):
    """Whether the map says why there is none, in a picture, and lets the pictures pass as they are."""
    output = executed(show.map, "show", model=model, images=images, what=what)
    (sheets, overlay), [sentence] = output.args, output.ui["text"]
    assert re.search(words, sentence), sentence
    assert overlay is images and len(sheets) == len(images) and sheets.ndim == 4 and (sheets < 0.5).any()
    return True


@pytest.mark.parametrize("count", [1, 3])
def test_without_the_cache_or_a_run_a_sentence_stands_for_what_there_is_not(tiny_dit, cached, show, count):
    """Nothing stops: what came in passes through."""
    empty, _ = cached(tiny_dit, **SETTINGS)
    images, value = torch.rand(count, 8, 8, 3), object()
    for model, words in ((tiny_dit.model, "no cache on this run: the model carries no ToCa Cache"),
                         (empty, "No sampling run .* connect {}")):
        result, text, data, picture = shown(show.report, "show", model=model, after=value)
        assert result is value and re.search(words.format("after"), text) and json.loads(data) == {"runs": [], "reason": text}
        assert picture.ndim == 4 and (picture < 0.5).any()
        assert said(show, model, words.format("images"), images) and said(show, model, words.format("images"), images, "error")


def test_of_a_run_in_parts_there_is_no_map(tiny_dit, cached, show):
    import nodes
    halves = [nodes.ConditioningSetArea().append(tiny_dit.positive, 128, 64, 64 * half, 0, 1.0)[0] for half in (0, 1)]
    model, _ = cached(tiny_dit, **SETTINGS)
    parts = Subject("dit", tiny_dit.model, halves[0] + halves[1], halves[0] + halves[1])
    in_node("first", lambda: parts.sample(model, steps=4))
    assert "4 evaluations" in shown(show.report, "show", model=model, after=None)[1]
    assert said(show, model, "node first sampled its pictures in parts only", torch.rand(1, 16, 16, 3))


def test_the_mean_over_tokens_is_the_share_that_the_report_tells(subject, cached, show):
    """Of all token-wise modules, blocks and steps; partial steps alone have fresh tokens, the others count one."""
    model, reports = cached(subject, **SETTINGS)
    in_node("first", lambda: subject.sample(model, steps=7, batch=2))
    recomputed = show.log_of(model).nearest("show", PROMPT).maps.recomputed
    per_step = []
    for step in reports[0].steps:
        shares = [share for site in run_sites(subject) if site.kind != "self_attn" for share in step.fresh_per_block.get(site.name, ())]
        per_step.append(sum(shares) / len(shares) if step.kind == "partial" else 1.0)
    expected = sum(per_step) / len(per_step)
    assert recomputed.std() > 0 and len(recomputed) == 2
    if subject.name != "flux":                                      # whose text has fresh tokens too
        torch.testing.assert_close(recomputed.mean(), torch.tensor(expected), rtol=1e-4, atol=1e-4)
    assert per_step.count(1.0) / len(per_step) - 1e-5 <= recomputed.min() <= recomputed.max() <= 1


@pytest.mark.parametrize("settings", [SETTINGS, TOLERANT])
def test_recording_does_not_change_the_picture(subject, cached, show, monkeypatch, settings):
    from tools.pack import pack_module
    model, _ = cached(subject, **settings)
    recorded = subject.sample(model, steps=7, batch=2)
    for method in ("call", "error"):
        monkeypatch.setattr(pack_module("toca_core.recording").TokenRecord, method, lambda *_: None)
    assert show.log_of(model).nearest("show", PROMPT).maps is not None
    assert torch.equal(subject.sample(model, steps=7, batch=2), recorded)
    assert show.log_of(model).nearest("show", PROMPT).maps is None


def test_masked_tokens_are_recomputed_at_every_step(tiny_dit, cached, show):
    from tools.pack import pack_module
    model, reports = cached(tiny_dit, level="stack", cycle=3, tolerance=None)
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:8, 4:8] = 1
    model = pack_module("nodes.toca_token_mask").ToCaTokenMask.execute(model, mask, 0)[0]
    in_node("first", lambda: tiny_dit.sample(model, steps=6))
    recomputed = show.log_of(model).nearest("show", PROMPT).maps.recomputed[0, 0]
    assert reports[0].calls("partial") == 4
    assert (recomputed[2:4, 2:4] == 1).all() and recomputed.sum() == pytest.approx(4 + 60 / 3)


def test_token_errors_agree_with_the_steps_errors(subject, cached, show):
    """The mean square over a picture's tokens is that of the picture; one picture, one conditioning."""
    model, reports = cached(subject, **TOLERANT)
    in_node("first", lambda: subject.sample(model, steps=12, cfg=1.0))
    error = show.log_of(model).nearest("show", PROMPT).maps.error
    measured = torch.tensor([step.error for step in reports[0].steps if step.error is not None])
    assert len(measured) >= 3
    torch.testing.assert_close(error.square().mean().sqrt(), measured.square().mean().sqrt(), rtol=1e-4, atol=1e-5)


def test_no_error_is_shown_where_none_was_measured(tiny_dit, cached, show):
    model, _ = cached(tiny_dit, **SETTINGS)
    in_node("first", lambda: tiny_dit.sample(model, steps=4))
    assert said(show, model, "measured no errors: choose what = recomputed", torch.rand(1, 16, 16, 3), "error")


@pytest.mark.smoke
@pytest.mark.parametrize("what", ["recomputed", "error"])
@pytest.mark.parametrize("name", ["dit", "flux", "open_sora"])
def test_maps_of_pictures_and_videos(pack, checkpoints, cached, show, name, what):
    """A batch of two, not square, the last patches cut; the video's three latent frames make five pictures each."""
    subject = make_subject(name, pack, checkpoints)
    model, _ = cached(subject, **(SETTINGS if what == "recomputed" else TOLERANT))
    in_node("first", lambda: subject.sample(model, steps=8, batch=2, size=(11, 18)))
    images = torch.rand(2 * (5 if subject.frames else 1), 88, 144, 3, generator=torch.Generator().manual_seed(0))
    maps, overlay = shown(show.map, "show", model=model, images=images, what=what, opacity=0.0)
    assert maps.shape == overlay.shape and len(maps) == len(images) and min(maps.shape[1:3]) >= 512 and maps.shape[2] % 144 == 0
    times = maps.shape[2] // 144
    torch.testing.assert_close(overlay[:, :88 * times:times, ::times], images, rtol=0, atol=0.5 / 255 + 1e-6)
    assert all(picture[:88 * times].flatten(0, 1).unique(dim=0).shape[0] > 1 for picture in maps)
    if name == "dit":
        assert torch.equal(shown(show.map, "show", model=model, images=images, what=what, opacity=1.0)[1], maps)


def test_the_map_of_picture_and_sound_is_the_pictures(cached, show):
    """LTX-2's sample is one row of numbers, the sound's behind the video's: 3 latent frames of 4 x 4 make 17 of 32 x 32 times as many."""
    from tools.zoo import builders
    subject = builders()["ltx2"].make()
    model, _ = cached(subject, level="output", tolerance=20.0)
    in_node("first", lambda: subject.sample(model, steps=8))
    values = show.log_of(model).nearest("show", PROMPT).maps
    assert values.recomputed.shape == values.error.shape == (1, 3, 4, 4) and values.error.unique().numel() > 24
    maps, overlay = shown(show.map, "show", model=model, images=torch.rand(17, 128, 128, 3), what="error", opacity=1.0)
    assert len(maps) == len(overlay) == 17 and maps[:, :128].flatten(0, 2).unique(dim=0).shape[0] > 6


def test_there_is_no_map_of_other_pictures(tiny_dit, cached, show):
    model, _ = cached(tiny_dit, **SETTINGS)
    in_node("first", lambda: tiny_dit.sample(model, steps=4, batch=2))
    assert said(show, model, "made 2 pictures or videos, but images has 3 pictures", torch.rand(3, 16, 16, 3))


def test_the_token_under_each_pixel(show):
    """Latents of 5 in patches of 2 under 10 pixels: two pixels for each place, the last token has one place only."""
    assert show.tokens.token_index(10, 5, 2) == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert show.tokens.token_index(3, 3, 1) == [0, 1, 2] and show.tokens.token_index(5, 3, 1) == [0, 0, 1, 2, 2]


# ---- a guider's second model ----


def dual(subject, first, second, cfg=3.0):
    """A run of the host's guider that asks one model with the prompt and another without."""
    from comfy_extras import nodes_custom_sampler as custom
    guider = custom.DualModelGuider.execute(first, subject.positive, cfg, second, subject.negative).args[0]
    sigmas = custom.BasicScheduler.execute(first, "simple", 6, 1.0).args[0]
    latent = torch.zeros(1, subject.model.model.latent_format.latent_channels, *subject.frames, 16, 16)
    with torch.inference_mode():
        return custom.SamplerCustomAdvanced.execute(custom.Noise_RandomNoise(3), guider, custom.KSamplerSelect.execute("euler").args[0],
                                                    sigmas, {"samples": latent}).args[0]["samples"].clone()


def outside(caplog):
    return [record for record in caplog.records if "called outside of its own sampling run" in record.getMessage()]


def test_a_cache_on_the_second_model_alone_says_that_it_did_nothing(tiny_dit, cached, show, caplog):
    """Once in a prompt in the log, and wherever its report is read; the pictures are those of no cache."""
    model, reports = cached(tiny_dit, **SETTINGS)
    plain = dual(tiny_dit, tiny_dit.model, tiny_dit.model)
    for node in ("first", "second"):
        assert torch.equal(in_node(node, lambda: dual(tiny_dit, tiny_dit.model, model)), plain)
    assert not reports and len(outside(caplog)) == 1
    _, text, data, _ = shown(show.report, "show", model=model, after=None)
    assert "nothing was cached; put ToCa Cache on the guider's first model as well" in text
    assert json.loads(data) == {"runs": [], "reason": text}
    assert said(show, model, "called outside of its own sampling run", torch.rand(1, 16, 16, 3))
    in_node("first", lambda: dual(tiny_dit, tiny_dit.model, model), "2")
    assert len(outside(caplog)) == 2
    for node in ("first", "second"):
        in_node(node, lambda: tiny_dit.sample(model, steps=3), "3")
    assert "outside" not in shown(show.report, "show", model=model, after=None)[1]


def test_a_cache_on_both_models_or_the_first_is_one_run_of_the_first(tiny_dit, cached, show, caplog):
    first, reports = cached(tiny_dit, **SETTINGS)
    second, others = cached(tiny_dit, **SETTINGS)
    results = [in_node("first", lambda other=other: dual(tiny_dit, first, other), str(number))
               for number, other in enumerate((tiny_dit.model, second, first))]
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
    assert [report.model_calls for report in reports] == [{"full": 4, "partial": 8, "plain": 0}] * 3 and not others
    assert not outside(caplog)
    assert "outside" not in shown(show.report, "show", model=first, after=None)[1]
    assert "in that of a guider's first model" in shown(show.report, "show", model=second, after=None)[1]


def test_without_guidance_the_second_model_is_not_asked(tiny_dit, cached, show, caplog):
    model, _ = cached(tiny_dit, **SETTINGS)
    in_node("first", lambda: dual(tiny_dit, tiny_dit.model, model, cfg=1.0))
    assert not outside(caplog) and "No sampling run" in shown(show.report, "show", model=model, after=None)[1]


def test_a_cache_that_was_taken_off_or_replaced_hears_of_no_call(tiny_dit, cached, pack, show, caplog):
    model, reports = cached(tiny_dit, **SETTINGS)
    replaced, _ = cached(SimpleNamespace(model=model, diffusion_model=tiny_dit.diffusion_model), **SETTINGS)
    for node, other in (("first", pack.seam.uninstalled(model)), ("second", replaced)):
        in_node(node, lambda other=other: tiny_dit.sample(other, steps=3))
    assert not reports and not outside(caplog) and "No sampling run" in shown(show.report, "show", model=model, after=None)[1]


# ---- runs that come to no end ----


@pytest.mark.parametrize("what", ["interrupt", "error"])
def test_a_run_that_was_stopped_says_so_and_the_next_prompt_has_its_own(tiny_dit, cached, show, what):
    import comfy.model_management
    error = comfy.model_management.InterruptProcessingException if what == "interrupt" else RuntimeError
    model, _ = cached(tiny_dit, **SETTINGS)
    block, calls = tiny_dit.diffusion_model.blocks[-1], []

    def failing(_module, _inputs):
        calls.append(1)
        if len(calls) == 4:
            raise error("in the model")

    hook = block.register_forward_pre_hook(failing)
    try:
        with pytest.raises(error):
            in_node("first", lambda: tiny_dit.sample(model, steps=6))
    finally:
        hook.remove()
    [run] = json.loads(shown(show.report, "show", model=model, after=None)[2])["runs"]
    assert len(run["steps"]) == 4 and f"Stopped early by {error.__name__}" in run["note"]
    in_node("first", lambda: tiny_dit.sample(model, steps=6), "2")
    [run] = json.loads(shown(show.report, "show", model=model, after=None)[2])["runs"]
    assert len(run["steps"]) == 6 and not run["note"] and run["calls"] == {"full": 2, "partial": 4, "plain": 0, "other": 0}
