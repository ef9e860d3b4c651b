"""A ComfyUI server with only this pack loaded, and a client for it. Runs under the host's Python.

    with ComfyServer() as server:
        result = server.client().run(prompt)

As a script: python tools/server.py [--port N] serves in the foreground until Ctrl-C.
"""

import argparse
import asyncio
import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

PROJECT = Path(__file__).absolute().parent.parent
FRONT_END = "TOCA_FRONT_END"        # as `tools/front_ends.py` sets it
ENDINGS = ("execution_success", "execution_error", "execution_interrupted")


class ServerError(RuntimeError):
    """The server did not come up; the message ends with the last lines of its log."""


class PromptRejected(ValueError):
    """The host refused a prompt before running it; the message lists what is wrong with which node."""


# ---- the server ----


class ComfyServer:
    """The host on a free loopback port, with folders of its own; up inside the `with` block, gone after it.

    models: folders laid out like ComfyUI/models (one subfolder per kind of model).
    beside: names of folders among the custom nodes, empty ones: what the pack shows only beside other packs is shown.
    folder: where input, output, temp, user and the log go; by default one that is removed at the end.
    """

    def __init__(
        self,
        pack: Path = PROJECT,
        comfyui: Path | None = None,
        port: int | None = None,
        models: Iterable[Path] = (),
        folder: Path | None = None,
        arguments: Iterable[str] = (),
        timeout: float = 300,
        beside: Iterable[str] = (),
    ):
        self.pack = Path(pack).absolute()
        self.comfyui = Path(comfyui or comfyui_path())
        self.port = free_port(port or 0)
        self.models = [Path(path).absolute() for path in models]
        self.arguments, self.beside = list(arguments), list(beside)
        self.timeout = timeout  # seconds to come up
        self.process: subprocess.Popen | None = None
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="toca-server-", ignore_cleanup_errors=True)
        self.folder = Path(folder or self._temporary.name).absolute()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def client(self) -> "Client":
        return Client(self.url)

    def __enter__(self):
        try:
            with open(self._prepare(), "wb") as log:
                self.process = subprocess.Popen(self._command(), cwd=self.comfyui, stdout=log, stderr=subprocess.STDOUT)
            self._wait_until_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._temporary:
            self._temporary.cleanup()

    def _prepare(self) -> Path:
        """Make the folders and the list of search paths; give back the log's path."""
        for name in ("custom_nodes", *(f"custom_nodes/{name}" for name in self.beside), "input", "models", "output", "temp", "user"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        paths: dict[str, list[str]] = {"custom_nodes": [str(self.pack.parent)]}
        for kind in (kind for models in self.models for kind in sorted(models.iterdir()) if kind.is_dir()):
            paths.setdefault(kind.name, []).append(str(kind))
        config = {"toca": {kind: "\n".join(folders) for kind, folders in paths.items()}}
        # JSON is YAML too, and needs no care with spaces and colons in paths.
        (self.folder / "paths.yaml").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
        return self.log

    def _command(self) -> list[str]:
        folder = self.folder
        command = [sys.executable, "main.py", "--listen", "127.0.0.1", "--port", str(self.port), "--disable-auto-launch"]
        command += ["--disable-all-custom-nodes", f"--whitelist-custom-nodes={self.pack.name}"]
        command += ["--base-directory", str(folder), "--extra-model-paths-config", str(folder / "paths.yaml")]
        command += ["--database-url", f"sqlite:///{(folder / 'comfyui.db').as_posix()}"]
        command += ["--front-end-root", os.environ[FRONT_END]] if FRONT_END in os.environ else []
        return command + ([] if has_accelerator() else ["--cpu"]) + self.arguments

    def _wait_until_up(self) -> None:
        client, deadline = self.client(), time.monotonic() + self.timeout
        while not client.is_up():
            if self.process.poll() is not None:
                raise ServerError(f"ComfyUI ended with code {self.process.returncode} before it answered:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerError(f"ComfyUI did not answer within {self.timeout:.0f} s:\n{self.log_tail()}")
            time.sleep(0.2)

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def comfyui_path() -> Path:
    if not os.environ.get("COMFYUI_PATH"):
        raise ServerError("COMFYUI_PATH is not set: run this through run.py, or set it to a ComfyUI folder.")
    return Path(os.environ["COMFYUI_PATH"]).absolute()


def free_port(wanted: int = 0) -> int:
    """The wanted port, or any for 0. One in use is refused here: another ComfyUI on it would be taken for ours."""
    with socket.socket() as s:
        if os.name != "nt":  # there it would allow a port in use; here it only ignores connections that have just ended
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise ServerError(f"Port {wanted} cannot be used ({error.strerror}): choose another with --port.") from error
        return s.getsockname()[1]


def has_accelerator() -> bool:
    import torch  # takes seconds, so only when a server is started

    accelerator = getattr(torch, "accelerator", None)  # torch 2.6
    return accelerator.is_available() if accelerator else torch.cuda.is_available() or torch.backends.mps.is_available()


# ---- the client ----


class Event(NamedTuple):
    """One message of the server about a run."""

    seconds: float  # since the prompt was queued
    type: str
    data: dict[str, Any]


@dataclass
class Result:
    """What came of one prompt."""

    prompt_id: str
    outputs: dict[str, Any] = field(default_factory=dict)  # node id -> its UI output
    events: list[Event] = field(default_factory=list)
    seconds_by_node: dict[str, float] = field(default_factory=dict)  # node id -> wall time; nodes taken from the cache are absent
    error: str | None = None  # None where the prompt succeeded

    def of_type(self, type: str) -> list[dict[str, Any]]:
        """The data of every event of one type, in order: result.of_type("toca.report")."""
        return [event.data for event in self.events if event.type == type]


class Client:
    """Talks to a running server; plain blocking calls, also usable where an event loop already runs."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.client_id = uuid.uuid4().hex
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def is_up(self) -> bool:
        try:
            self._get("/system_stats")
        except (aiohttp.ClientError, OSError):
            return False
        return True

    def object_info(self) -> dict[str, Any]:
        """Every node's inputs and outputs, by node type."""
        return json.loads(self._get("/object_info"))

    def our_nodes(self) -> dict[str, Any]:
        """Of these the pack's own; a ComfyServer loads no other pack."""
        return {name: info for name, info in self.object_info().items() if info["python_module"].startswith("custom_nodes.")}

    def image(self, filename: str, subfolder: str = "", type: str = "output") -> bytes:
        """The bytes of an image that a node's output names."""
        return self._get("/view", params={"filename": filename, "subfolder": subfolder, "type": type})

    def upload_image(self, path: Path) -> str:
        """Put an image into the server's input folder; the name LoadImage knows it by."""
        form = aiohttp.FormData()
        form.add_field("image", Path(path).read_bytes(), filename=Path(path).name, content_type="application/octet-stream")
        form.add_field("overwrite", "true")
        return json.loads(self._wait(self._request("POST", "/upload/image", data=form)))["name"]

    def interrupt(self) -> None:
        """Stop the prompt that is running."""
        self._wait(self._request("POST", "/interrupt"))

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue a prompt without waiting for it; its id. Raises PromptRejected."""
        return self._wait(self._queue(prompt))

    def run(self, prompt: dict[str, Any], on_event: Callable[[Event], None] | None = None, timeout: float = 600) -> Result:
        """Queue a prompt and follow it to its end. An error in a node is in the result; a refused prompt raises PromptRejected.

        on_event is called in this thread and may interrupt(). After `timeout` seconds the prompt is interrupted, and TimeoutError raised.
        """
        inbox: queue.Queue[Event | None] = queue.Queue()
        follower = asyncio.run_coroutine_threadsafe(self._follow(prompt, inbox), self._loop)
        follower.add_done_callback(lambda _: inbox.put(None))
        deadline, events = time.monotonic() + timeout, []
        try:
            while (event := inbox.get(timeout=max(0, deadline - time.monotonic()))) is not None:
                events.append(event)
                if on_event:
                    on_event(event)
            return summary(follower.result(), events)
        except queue.Empty:
            self.interrupt()
            raise TimeoutError(f"The prompt did not end within {timeout:g} s.") from None
        finally:
            follower.cancel()

    async def _follow(self, prompt: dict[str, Any], inbox: "queue.Queue[Event | None]") -> str:
        url = f"{self.url}/ws?clientId={self.client_id}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as messages:
            start = time.monotonic()
            prompt_id = await self._queue(prompt)
            async for message in messages:
                if message.type != aiohttp.WSMsgType.TEXT:
                    continue  # a preview image
                body = json.loads(message.data)
                event = Event(time.monotonic() - start, body["type"], body["data"])
                if event.type in ("status", "feature_flags") or event.data.get("prompt_id", prompt_id) != prompt_id:
                    continue
                inbox.put(event)
                if event.type in ENDINGS:
                    return prompt_id
        raise ServerError("The server closed the connection before the prompt ended; its log says why.")

    async def _queue(self, prompt: dict[str, Any]) -> str:
        body = {"prompt": prompt, "client_id": self.client_id}
        return json.loads(await self._request("POST", "/prompt", json=body))["prompt_id"]

    async def _request(self, method: str, path: str, **options) -> bytes:
        async with aiohttp.ClientSession() as session, session.request(method, self.url + path, **options) as response:
            body = await response.read()
            if path == "/prompt" and response.status == 400:
                raise PromptRejected(complaints(json.loads(body)))
            response.raise_for_status()
            return body

    def _get(self, path: str, **options) -> bytes:
        return self._wait(self._request("GET", path, **options))

    def _wait(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def complaints(answer: dict[str, Any]) -> str:
    """The host's answer to a refused prompt, as lines to read."""
    error = answer.get("error") or {}
    lines = [": ".join(filter(None, (error.get("message"), error.get("details"))))] if isinstance(error, dict) else [str(error)]
    for node, report in (answer.get("node_errors") or {}).items():
        for problem in report["errors"]:
            lines.append(f"{report['class_type']} (node {node}): {problem['message']}: {problem['details']}")
    return "\n".join(lines)


def summary(prompt_id: str, events: list[Event]) -> Result:
    """Read a run's result off its events."""
    result = Result(prompt_id, events=events)
    node, since = None, 0.0
    for seconds, type, data in events:
        if type in ("executing", *ENDINGS):
            if node is not None:
                result.seconds_by_node[node] = result.seconds_by_node.get(node, 0.0) + seconds - since
            node, since = (data["node"] if type == "executing" else None), seconds
        if type == "executed":
            result.outputs[data["node"]] = data["output"]
        elif type == "execution_error":
            result.error = f"{data['node_type']} (node {data['node_id']}): {data['exception_message'].strip()}"
        elif type == "execution_interrupted":
            result.error = f"interrupted in {data['node_type']} (node {data['node_id']})"
    return result


# ---- serving in the foreground ----


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py serve", description="Start ComfyUI with only this pack loaded.")
    parser.add_argument("--port", type=int, default=8188, help="the port on this machine (default 8188)")
    port = parser.parse_args().port
    try:
        models = comfyui_path() / "models"
        print("Starting ComfyUI ...", flush=True)
        with ComfyServer(port=port, folder=PROJECT / "output" / "serve", models=[models] if models.is_dir() else []) as server:
            print(f"{server.url}    Ctrl-C ends it; its log and pictures are in {server.folder}", flush=True)
            return server.process.wait()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
