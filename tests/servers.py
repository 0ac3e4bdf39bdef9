"""An HTTP server of images that can be slow, cut off and lie."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What a server gives at every path. It stops after C(stop_after) bytes until C(go_on) is set, or for ever."""

    content: bytes
    url: str = ""
    stop_after: int | None = None
    cut_off: bool = False
    cuts: int | None = None  # answers that stop; then all are whole
    told_length: bool = True
    go_on: threading.Event = field(default_factory=threading.Event)
    requests: int = 0


@contextmanager
def serving(content: bytes) -> Iterator[Served]:
    """A server on loopback for the time of a C(with) block."""
    served = Served(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests += 1
            if self.path.endswith("missing"):
                self.send_error(404)
                return
            self.send_response(200)
            if served.told_length:
                self.send_header("Content-Length", str(len(served.content)))
            self.end_headers()
            is_whole = served.cuts is not None and served.requests > served.cuts
            stop_after = None if is_whole else served.stop_after
            self.wfile.write(served.content[:stop_after])
            if stop_after is None:
                return
            if not served.cut_off:
                served.go_on.wait(60)
                with suppress(OSError):
                    # The client may be gone by now.
                    self.wfile.write(served.content[stop_after:])

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}/image"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
