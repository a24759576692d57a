"""A server on the loopback interface that answers like the Hugging Face hub for one repository."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(repository: str, folder: Path) -> Iterator[str]:
    """Serve the files of ``folder`` as ``repository``; yields the endpoint's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            files = {
                f"/{repository}/resolve/{name}/{file.name}": file for file in folder.iterdir() for name in REVISIONS
            }
            if path in files:
                self._send(200, files[path].read_bytes(), with_body)
            elif path.startswith(f"/api/models/{repository}") and "/tree/" not in path:
                listing = [{"rfilename": file.name} for file in folder.iterdir()]
                self._send(200, json.dumps({"sha": COMMIT, "siblings": listing}).encode(), with_body)
            else:
                self._send(404, b"", with_body, error="EntryNotFound")

        def _send(self, status: int, body: bytes, with_body: bool, error: str | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            if error:
                self.send_header("X-Error-Code", error)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            del format, arguments

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


REVISIONS = ("main", COMMIT)
