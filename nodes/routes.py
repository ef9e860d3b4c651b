"""The server's side of the ratio chart: GET /toca/model and POST /toca/predict."""

import asyncio
import json

from aiohttp import web

from ..toca_core.config import ConfigError
from ..toca_core.finite import dumps
from .prediction import describe, foresee

LONGEST = 100_000       # characters of a body


def add_routes(routes):
    """routes: aiohttp's route table of the host's server."""
    routes.get("/toca/model")(model)
    routes.post("/toca/predict")(prediction)


async def model(request):
    return answer(describe(request.query.get("node", ""), request.query.get("system", "")))


async def prediction(request):
    """{node, system, widgets: {name: value}, ratios: text or null} -> `prediction.foresee`.

    {error} where the node would refuse these widgets, since that is the prediction then; 400 and {error} for any other body.
    """
    try:
        body = read(await request.text())
    except ConfigError as error:
        return answer({"error": str(error)}, status=400)
    try:
        return answer(await asyncio.to_thread(foresee, **body))
    except ConfigError as error:
        return answer({"error": str(error)})


def answer(content: dict, status: int = 200):
    return web.json_response(content, status=status, dumps=dumps)


def read(text: str) -> dict:
    try:
        body = json.loads(text) if len(text) <= LONGEST else None
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ConfigError(f"The body is no JSON object of at most {LONGEST} characters.")
    found = {name: body.get(name, default) for name, default in (("node", ""), ("system", ""), ("widgets", {}), ("ratios", None))}
    wanted = {"node": str, "system": str, "widgets": dict, "ratios": (str, type(None))}
    for name, kind in wanted.items():
        if not isinstance(found[name], kind):
            raise ConfigError(f"{name} is {found[name]!r}; give {'an object' if name == 'widgets' else 'text'}.")
    return found
