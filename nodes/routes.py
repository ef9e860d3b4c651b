"""The server's side of the ratio chart: GET /toca/model and POST /toca/predict."""

import asyncio
from typing import Any

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from ..toca_core.config import ConfigError, shown
from ..toca_core.finite import dumps
from . import strict_json
from .prediction import describe, foresee

LONGEST = 100_000       # bytes of a body
FIELDS: dict[str, tuple[Any, Any, str]] = {     # name -> (what it has to be, what it is by default, that in words)
    "node": (str, "", "text"), "system": (str, "", "text"), "widgets": (dict, {}, "an object"), "ratios": ((str, type(None)), None, "text")}


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
        body = read(await body_of(request))
    except ConfigError as error:
        return answer({"error": str(error)}, status=400)
    try:
        return answer(await asyncio.to_thread(foresee, **body))
    except ConfigError as error:
        return answer({"error": str(error)})


def answer(content, status: int = 200):
    return web.json_response(content, status=status, dumps=dumps)


async def body_of(request) -> bytes:
    """Read no further than it may be long. Raises ConfigError for a longer one, and for one that is not encoded as it says."""
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > LONGEST:
                raise ConfigError(f"The body is longer than {LONGEST} bytes; send a shorter one.")
    except (ClientPayloadError, HttpProcessingError, web.RequestPayloadError):
        raise ConfigError("The body is not encoded as its header says; send it as plain JSON.") from None
    return bytes(body)


def read(body: bytes) -> dict:
    """-> the arguments of `prediction.foresee`. Raises ConfigError."""
    try:
        said = strict_json.loads(body)
    except ValueError as error:
        raise ConfigError(f"The body cannot be read: {error}. Send a JSON object.") from None
    if not isinstance(said, dict):
        raise ConfigError(f"The body is {shown(said)}; send a JSON object.")
    found = {name: said.get(name, default) for name, (_, default, _) in FIELDS.items()}
    for name, (kind, _, words) in FIELDS.items():
        if not isinstance(found[name], kind):
            raise ConfigError(f"{name} is {shown(found[name])}; give {words}.")
    return found
