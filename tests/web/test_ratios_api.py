"""Ratios through the API: in a prompt, and the routes behind the chart."""

import json
import urllib.error
import urllib.request

import pytest

from tests.web.test_ratios import STEPS, TOKENS, WORKFLOW
from tools.workflow import to_prompt


def prompt_with(client, ratios, **cache):
    prompt = to_prompt(WORKFLOW, client.object_info())
    inputs = {content["class_type"]: content["inputs"] for content in prompt.values()}
    inputs["ToCaRatios"]["ratios"] = ratios
    inputs["ToCaCache"].update(cache)
    inputs["KSampler"].update(steps=STEPS, seed=73)
    inputs["EmptyLatentImage"].update(batch_size=1)
    return prompt


def test_ratios_of_another_depth_are_adapted_and_the_report_says_so(client):
    ratios = "mlp: " + ", ".join(str(round(block / 27, 4)) for block in range(28)) + "\ncross_attn: 0.5"
    result = client.run(prompt_with(client, ratios))
    assert result.error is None
    [report] = result.of_type("toca.report")
    assert "mlp: 28 ratios were resampled to 8 blocks" in report["note"] and "cross_attn were left out" in report["note"]
    [shares, *_] = [step["fresh_per_block"]["mlp"] for step in report["steps"] if step["kind"] == "partial"]
    assert shares == pytest.approx([block / 7 for block in range(8)], abs=2 / TOKENS)


def test_ratios_that_do_not_count_are_named_in_the_report(client):
    [report] = client.run(prompt_with(client, "mlp: 0.4", preset="paper")).of_type("toca.report")
    assert "ratios were not used, since preset is paper" in report["note"]
    result = client.run(prompt_with(client, "mlp: 1.4"))
    assert "mlp, block 0 is 1.4" in result.error


def ask(server, body: bytes):
    request = urllib.request.Request(f"{server.url}/toca/predict", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_the_routes_foretell_the_report_and_refuse_by_name(client, server):
    prompt = prompt_with(client, "mlp: 0.3, 0.1", cycle=4)
    [report] = client.run(prompt).of_type("toca.report")
    [(node, cache)] = [(node, content["inputs"]) for node, content in prompt.items() if content["class_type"] == "ToCaCache"]
    widgets = {name: value for name, value in cache.items() if not isinstance(value, list)}
    with urllib.request.urlopen(f"{server.url}/toca/model?node={node}") as answer:
        model = json.loads(answer.read())
    assert model["model"] == "DiT" and model["steps"] == STEPS
    assert [(module["name"], module["blocks"]) for module in model["modules"]] == [("self_attn", 8), ("mlp", 8)]

    status, answer = ask(server, json.dumps({"node": node, "widgets": widgets, "ratios": "mlp: 0.3, 0.1"}).encode())
    assert status == 200 and answer["flops"] == report["flops"] and answer["plain_flops"] == report["plain_flops"]
    assert answer["cache_bytes"] == report["predicted_cache_bytes"]
    status, answer = ask(server, json.dumps({"node": node, "widgets": {**widgets, "preset": "auto"}}).encode())
    assert status == 200 and answer["flops"] is None and "depends on the picture" in answer["note"]
    for place in (f"node={node}&workflow=another", f"node={node}&system=open_sora"):      # another's node of the same id, another system
        with urllib.request.urlopen(f"{server.url}/toca/model?{place}") as answer:
            model = json.loads(answer.read())
        assert not model["known"] and ("spatial.mlp" in [module["name"] for module in model["modules"]]) == ("open_sora" in place)
    status, answer = ask(server, b'{"node": "no such node"}')
    assert status == 200 and answer["flops"] is None and len(answer["ratios"]["mlp"]) == 28

    for body, words in ((b"{", "JSON"), (b"[]", "JSON"), (b'{"node": 4}', "node is 4"), (b'{"widgets": [1]}', "widgets is [1]")):
        status, answer = ask(server, body)
        assert status == 400 and words in answer["error"], body
    for body, words in ((b'{"widgets": {"cycle": 0}}', "cycle is 0"), (b'{"widgets": {"cycle": []}}', "cycle is []"),
                        (b'{"widgets": {"swiftness": 2}}', "swiftness"), (b'{"widgets": {"tolerance": NaN}}', "tolerance"),
                        (b'{"ratios": "mlp: 2"}', "block 0 is 2"), (b'{"widgets": {"preset": "fastest"}}', "fastest"),
                        (b'{"widgets": {"score": "x"}}', "score"),
                        (b'{"widgets": {"start_percent": 0.9, "end_percent": 0.1}}', "start_percent")):
        status, answer = ask(server, body)
        assert status == 200 and words in answer["error"], body
