"""A real HTTP server on loopback that serves a folder by byte ranges and misbehaves when told to."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class FaultServer:
    """What a server does and what it was asked for.

    Attributes:
        url: Of the folder.
        faults: For the next requests, one each: "500", "404", "half", "cut_connection", "flip", "slow",
            "whole_file"; then it behaves.
        only: Names of files with this ending get the faults.
        always: Fault of every request for files whose names match, or None.
        states_version: It sends an ETag.
        num_requests: Of each file by GET.
        num_bytes: Sent in bodies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.faults: list[str] = []
        self.only = ""
        self.always: Callable[[str], str | None] = lambda _: None
        self.states_version = False
        self.num_requests: Counter[str] = Counter()
        self.num_bytes = 0
        self._lock = threading.Lock()

    def next_fault(self, name: str) -> str | None:
        with self._lock:
            self.num_requests[name] += 1
            if self.faults and name.endswith(self.only):
                return self.faults.pop(0)
            return self.always(name)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FaultServer

    def do_HEAD(self) -> None:
        file = self.state.folder / self.path.lstrip("/")
        if not file.is_file():
            self._plain(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(file.stat().st_size))
        self.send_header("Accept-Ranges", "bytes")
        if self.state.states_version:
            self.send_header("ETag", f'"{sha256(file.read_bytes()).hexdigest()[:16]}"')
        self.end_headers()

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        fault = self.state.next_fault(name)
        file = self.state.folder / name
        if fault in ("500", "404") or not file.is_file():
            self._plain(int(fault or 404))
            return
        whole = file.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        status, body = 200, whole
        if wanted and fault != "whole_file":
            status, body = 206, whole[int(wanted[1]) : int(wanted[2]) + 1]
        if fault == "flip":
            body = body[:-1] + bytes([body[-1] ^ 1])
        if fault == "slow":
            time.sleep(1.5)
        self._body(status, body, fault)

    def _body(self, status: int, body: bytes, fault: str | None) -> None:
        self.send_response(status)
        if fault == "half":  # without a length the client cannot see that it is cut
            self.send_header("Connection", "close")
            body = body[: len(body) // 2]
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.state.num_bytes += len(body)
        try:
            self.wfile.write(body[: len(body) // 2] if fault == "cut_connection" else body)
        except (BrokenPipeError, ConnectionResetError):
            return  # the client has lost its patience
        if fault in ("half", "cut_connection"):
            self.close_connection = True

    def _plain(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[FaultServer]:
    """Serve a folder until the block ends."""
    state = FaultServer(folder)
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
