"""The chart's two routes, on a web server of their own: whatever is asked, the answer is short JSON, and no error of the server."""

import asyncio
import copy
import gzip
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tools.pack import pack_module

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """ask(*requests) -> (status, answer) of each; a request is (method, path, body, headers)."""
    import folder_paths
    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path))
    routes = web.RouteTableDef()
    pack_module("nodes.routes").add_routes(routes)

    async def all_of(requests):
        application = web.Application()
        application.add_routes(routes)
        async with TestClient(TestServer(application)) as client:
            return [await one(client, *request) for request in requests]

    async def one(client, method, path, body=None, headers=None):
        async with client.request(method, path, data=body, headers=headers or {}) as response:
            return response.status, await response.read()
    return lambda *requests: [(status, checked(body)) for status, body in asyncio.run(all_of(requests))]


def checked(body: bytes):
    """The answer, which has to be strict and short."""
    def refuse(word):
        raise AssertionError(f"{word} in the answer")
    assert len(body) < 100_000
    return json.loads(body, parse_constant=refuse)


def widgets(**values):
    return json.dumps({"node": "cache", "system": "dit", "widgets": values, "ratios": None}).encode()


BROKEN = {
    "empty": b"", "list": b"[]", "null": b"null", "cut": b"{", "number": b"1", "text": b'"x"', "bad utf-8": b'{"node": "\xff\xfe"}',
    "nested": b"[" * 40_000 + b"]" * 40_000, "nested objects": b'{"a":' * 15_000 + b"1" + b"}" * 15_000,
    "long": b'{"node": "' + b"x" * 100_000 + b'"}',
    "20 MB": b'{"node": "' + b"x" * 20_000_000 + b'"}',
    "node": b'{"node": 5}', "system": b'{"system": null}', "widgets": b'{"widgets": []}',
    "ratios": b'{"ratios": 5}', "digits": b'{"widgets": {"cycle": ' + b"9" * 5000 + b"}}",
    "list of text": json.dumps({"node": ["x" * 90_000]}).encode(), "bare nan": b"NaN", "zeros": bytes(100),
    "utf-16 cut": '{"a": 1}'.encode("utf-16")[:-1]}


def test_bodies_that_are_no_question(ask):
    for name, (status, answer) in zip(BROKEN, ask(*(("POST", "/toca/predict", body, JSON) for body in BROKEN.values())), strict=True):
        assert status == 400 and list(answer) == ["error"] and len(answer["error"]) < 300, (name, status, answer)


def test_a_body_is_not_read_beyond_its_limit(ask):
    """One without a length, of which there is always more, is answered."""
    async def endless():
        for _ in range(10_000):
            yield b"x" * 10_000
            sent.append(1)
    sent = []
    [(status, answer)] = ask(("POST", "/toca/predict", endless(), JSON))
    assert status == 400 and "longer than 100000 bytes" in answer["error"]


@pytest.mark.parametrize("headers, status", [
    ({"Content-Type": "text/plain; charset=foo"}, 200), ({"Content-Type": "application/json; charset=utf-16"}, 200), ({}, 200),
    ({"Content-Type": "application/json; charset=\udcff"}, 200), ({"Content-Type": "x" * 1000}, 200),
    ({"Content-Encoding": "gzip", **JSON}, 400), ({"Content-Encoding": "deflate", **JSON}, 400)])
def test_headers_that_do_not_fit_the_body(ask, headers, status):
    assert ask(("POST", "/toca/predict", widgets(), headers))[0][0] == status


def test_a_packed_body_is_read_no_further_than_another(ask):
    packed = {"Content-Encoding": "gzip", **JSON}
    bodies = gzip.compress(widgets()), gzip.compress(b" " * 50_000_000)
    (good, _), (bomb, answer) = ask(*(("POST", "/toca/predict", body, packed) for body in bodies))
    assert good == 200 and bomb == 400 and "longer" in answer["error"]


REFUSED = {
    "negative": {"cycle": -3}, "large": {"cycle": 10 ** 300}, "text for a number": {"cycle": "3"}, "number for text": {"preset": 3},
    "nothing": {"cycle": None}, "list": {"cycle": [1]}, "long list": {"cycle": [1] * 20_000}, "no widget": {"nope": 1},
    "long name": {"x\n" * 20_000: 1}, "path": {"preset": "../../../../etc/passwd"}, "zero byte": {"preset": "a\0b"},
    "long text": {"preset": "x" * 50_000}, "half a letter": {"preset": "\ud800"}, "level": {"level": "x"}, "no level": {"level": ""},
    "fraction": {"cycle": 2.5, "preset": "custom"}, "range": {"start_percent": 0.9, "end_percent": 0.1},
    "text for a switch": {"verbose": "yes"}, "slope": {"step_slope": 1e308, "preset": "custom"}, "tolerance": {"tolerance": 1e308},
    "score": {"preset": "custom", "score": "x" * 50_000}, "below": {"tolerance": -2.0},
    "not a number": {"fresh_ratio": float("nan")}, "infinite": {"tolerance": float("inf")},
    "ratios": {"preset": "custom", "block_ratios": "x" * 50_000}}


def test_widgets_that_the_node_refuses(ask):
    answers = ask(*(("POST", "/toca/predict", widgets(**values), JSON) for values in REFUSED.values()))
    for name, (status, answer) in zip(REFUSED, answers, strict=True):
        assert status == 200 and list(answer) == ["error"] and len(answer["error"]) < 700, (name, status, answer)


def test_numbers_beyond_floating_point(ask):
    [(status, answer)] = ask(("POST", "/toca/predict", b'{"widgets": {"fresh_ratio": 1e999}}', JSON))
    assert status == 200 and "fresh_ratio is inf" in answer["error"]


RATIOS = ["mlp: " + "0.1 " * 22_000, "x" * 90_000, "".join(f"m{index}: 1\n" for index in range(9000)), "mlp: nan", "mlp: inf",
          "mlp: 1e400", "\ud800: 0.1",
          "mlp: 0.1\n" * 2, ":", "\0", "mlp:", "0.1 " * 20_000, "🙂: 0.2", "9" * 90_000]


def test_ratios_of_any_kind(ask):
    questions = (json.dumps({"ratios": ratios}).encode() for ratios in RATIOS)
    for ratios, (status, answer) in zip(RATIOS, ask(*(("POST", "/toca/predict", body, JSON) for body in questions)), strict=True):
        assert status == 200 and ("ratios" in answer or len(answer["error"]) < 300), (ratios[:20], status, answer)


def test_a_node_and_a_system_that_nobody_knows(ask):
    body = json.dumps({"node": "zzz\ud800", "system": "\udfff", "widgets": {"preset": "custom"}}).encode()
    assert ask(("POST", "/toca/predict", body, JSON))[0][0] == 200
    queries = ("", "?node=", "?node=../../etc/passwd", "?node=%00", "?node=%ff", "?node=" + "x" * 6000, "?node=a&node=b", "?system=../x",
               "?node=%F0%9F%98%80", "?node=cache&system[]=1", "?system=dit&system=pixart", "?%00=%00", "?" + "a=1&" * 1000)
    for query, (status, answer) in zip(queries, ask(*(("GET", f"/toca/model{query}") for query in queries)), strict=True):
        assert status == 200 and answer["known"] is False and "x" * 100 not in json.dumps(answer), query


def test_answers_hold_no_number_that_json_lacks():
    dumps = pack_module("toca_core.finite").dumps
    assert dumps({"a": [float("nan"), (float("inf"), 1.5)], "b": True}) == '{"a": [null, [null, 1.5]], "b": true}'


@pytest.mark.parametrize("request_body", [
    None, [], {"prompt": None}, {"prompt": ["x" * 1000]}, {"prompt": {"a": 1, "b": {"class_type": [], "inputs": 1}}},
    {"prompt": {"a": {"class_type": "ToCaCache", "inputs": None}, "b": {"class_type": "Other", "inputs": {"level": "x" * 1000}}}},
    {"prompt": {"a": {"class_type": "ToCaCache", "inputs": {"level": ["x" * 1000, 0], "block_ratios": "x" * 1000, "cycle": "0" * 300 + "3",
                                                            "preset": "fastest", "unknown": "x" * 1000}}}}])
def test_what_is_no_prompt_and_what_the_host_takes_is_left_to_it(request_body):
    """Only values that it refuses and would show whole are shortened (tests/tools/test_hostile_prompts.py)."""
    handle = pack_module("nodes.host.prompts").shortener([pack_module("nodes.toca_cache").ToCaCache])
    assert handle(copy.deepcopy(request_body)) == request_body
