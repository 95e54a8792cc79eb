"""A real browser that opens one page: Chromium without a window, spoken to over its debugging socket."""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

Result = TypeVar("Result")

_NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((path for name in _NAMES if (path := shutil.which(name))), None)
_PATIENCE_SEC = 120.0
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars",
)  # fmt: skip


class OpenPage:
    """One page in the browser.

    Attributes:
        complaints: What the browser's console and its log said: errors of scripts, refused addresses.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self._socket, self._numbers = socket, count(1)
        self._events: set[str] = set()

    async def send(self, method: str, **params: Any) -> Any:
        """Send a command of the protocol and return its result."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        return (await self._receive(lambda message: message.get("id") == number))["result"]

    async def evaluate(self, script: str) -> Any:
        """Run a script in the page and return its value."""
        answer = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def look(
        self, file: Path, *, width: int = 1280, scheme: str = "light", mobile: bool = False
    ) -> None:
        """Take a picture of the whole page."""
        await self.send(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=mobile
        )
        picture = await self.send("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        file.write_bytes(base64.b64decode(picture["data"]))

    async def open(self, page: Path) -> None:
        """Open a page and wait until all of it is there."""
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")
        answer = await self.send("Page.navigate", url=page.resolve().as_uri())
        assert "errorText" not in answer, answer
        if "Page.loadEventFired" not in self._events:
            await self._receive(lambda message: message.get("method") == "Page.loadEventFired")

    async def _receive(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            message = await self._socket.receive_json(timeout=_PATIENCE_SEC)
            self._note(message)
            if wanted(message):
                return message

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method", ""), message.get("params", {})
        self._events.add(method)
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(params["entry"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str(params["args"]))


def in_browser(page: Path, visit: Callable[[OpenPage], Awaitable[Result]]) -> Result:
    """Open a page in a fresh browser, do something with it, and end the browser."""

    async def run() -> Result:
        async with _opened(page) as opened:
            return await visit(opened)

    return asyncio.run(asyncio.wait_for(run(), 2 * _PATIENCE_SEC))


@asynccontextmanager
async def _opened(page: Path) -> AsyncGenerator[OpenPage]:
    assert PROGRAM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            PROGRAM, *_FLAGS, f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    target = next(each for each in await answer.json() if each["type"] == "page")
                address = target["webSocketDebuggerUrl"]
                async with session.ws_connect(address, max_msg_size=0) as socket:
                    opened = OpenPage(socket)
                    await opened.open(page)
                    yield opened
        finally:
            process.kill()
            await process.wait()


async def _port(file: Path) -> int:
    """Wait until the browser has written where it listens."""
    for _ in range(int(_PATIENCE_SEC * 10)):
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        await asyncio.sleep(0.1)
    raise TimeoutError("Chromium did not start")
