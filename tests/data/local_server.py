"""An HTTP server on this machine that serves bytes and can misbehave."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """What is served, and what has been asked.

    Args:
        url: The server's address, with a slash at its end.
        files: Contents by path.
        redirects: Where a path leads.
        cut_after: Bytes after which the next answers' connections are cut, one entry an answer.
        ranges: Whether `Range` is understood.
        with_length: Whether `Content-Length` is sent.
        asked: Path and `Range` of every request.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    ranges: bool = True
    with_length: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Server]:
    """Serve on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Be quiet."""

        def do_GET(self) -> None:
            name, asked = self.path.lstrip("/"), self.headers.get("Range")
            server.asked.append((name, asked))
            if name in server.redirects:
                self.send_response(302)
                self.send_header("Location", server.redirects[name])
                self.end_headers()
                return
            if name not in server.files:
                self.send_error(404, "Not Found")
                return
            content, start = server.files[name], 0
            if asked is not None and server.ranges:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_error(416, "Range Not Satisfiable")
                    return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if server.with_length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = start + server.cut_after.pop(0) if server.cut_after else len(content)
            self.wfile.write(content[start:stop])

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.handle_error = lambda request, client_address: None  # a client that hangs up
    server = Server(f"http://127.0.0.1:{httpd.server_port}/")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
