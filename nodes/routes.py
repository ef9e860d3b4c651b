"""The server's side of the ratio chart, GET /toca/model and POST /toca/predict, of the live panel, GET /toca/runs,
and of saved presets, GET and POST /toca/presets."""

import asyncio
from typing import Any

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from ..toca_core.checks import ConfigError, shown
from ..toca_core.finite import dumps
from . import strict_json
from .host import user_files
from .host.publish import latest
from .host.settings import PRESETS
from .prediction import describe, foresee, to_keep

LONGEST = 100_000       # bytes of a body
# name -> (what it has to be, what it is by default, that in words)
FIELDS: dict[str, tuple[Any, Any, str]] = {
    "node": (str, "", "text"), "system": (str, "", "text"), "widgets": (dict, {}, "an object"),
    "ratios": ((str, type(None)), None, "text"), "workflow": ((str, type(None)), None, "text")}


def add_routes(routes):
    """routes: aiohttp's route table of the host's server."""
    routes.get("/toca/model")(model)
    routes.post("/toca/predict")(prediction)
    routes.get("/toca/runs")(runs)
    routes.get("/toca/presets")(presets)
    routes.post("/toca/presets")(keep)


async def model(request):
    return answer(describe(request.query.get("node", ""), request.query.get("system", ""), request.query.get("workflow")))


async def runs(request):
    """client: the front end's own id -> [{type, detail}], what it was told last of each of its latest runs."""
    return answer(latest(request.query.get("client", "")))


async def presets(_request):
    """-> {name: settings}, null for one that cannot be read."""
    return answer(listed())


async def keep(request):
    """{action, name, ...} -> {"name", "presets"} or {error}: save {node, system, widgets, ratios}, rename {to} or delete a preset."""
    try:
        body = strict_json.loads(await body_of(request))
        if not isinstance(body, dict) or body.get("action") not in ACTIONS:
            raise ConfigError(f"The body is {shown(body)}; send a JSON object whose action is one of {', '.join(ACTIONS)}.")
        name = await asyncio.to_thread(ACTIONS[body["action"]], body)
    except ValueError as error:
        return answer({"error": str(error)}, status=400)
    return answer({"name": name, "presets": listed()})


def save(body: dict) -> str:
    name = user_files.check_name("name", str(body.get("name", "")).strip(), PRESETS)
    user_files.save_preset(name, to_keep(**taken(body)))
    return name


def rename(body: dict) -> str:
    name = user_files.check_name("name", str(body.get("to", "")).strip(), {*PRESETS, *map(str.casefold, user_files.saved_presets())})
    user_files.rename_preset(str(body.get("name")), name)
    return name


def delete(body: dict) -> str:
    user_files.delete_preset(str(body.get("name")))
    return ""


ACTIONS = {"save": save, "rename": rename, "delete": delete}


def listed() -> dict:
    return {name: settings_or_none(name) for name in user_files.saved_presets()}


def settings_or_none(name: str) -> dict | None:
    try:
        return user_files.settings_of_preset(user_files.load_preset(name))
    except ConfigError:
        return None


async def prediction(request):
    """{node, system, workflow, widgets: {name: value}, ratios: text or null} -> `prediction.foresee`.

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
    return taken(said)


def taken(said: dict) -> dict:
    """Of a body those `FIELDS`. Raises ConfigError."""
    found = {name: said.get(name, default) for name, (_, default, _) in FIELDS.items()}
    for name, (kind, _, words) in FIELDS.items():
        if not isinstance(found[name], kind):
            raise ConfigError(f"{name} is {shown(found[name])}; give {words}.")
    return found
