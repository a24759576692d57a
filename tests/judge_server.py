"""An OpenAI-compatible endpoint on loopback, for the tests of judges."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JudgeServer(ThreadingHTTPServer):
    """Replies with ``answer(prompt)``, and with HTTP 401 after ``broken_after`` requests.

    Attributes:
        asked: bodies of all requests.
        keys: their Authorization headers.
    """

    def __init__(self, answer: Callable[[str], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.broken_after = 1_000

    @property
    def url(self) -> str:
        """What goes into ``judge.base_url``."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        """What was asked, without what the system was told."""
        return [body["messages"][-1]["content"] for body in self.asked]

    def __enter__(self) -> "JudgeServer":
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.keys.append(self.headers.get("Authorization"))
        if len(self.server.asked) > self.server.broken_after:
            self.send_error(401, "no")
            return
        content = self.server.answer(self.server.prompts[-1])
        message = {"role": "assistant", "content": content}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
        body["choices"] = [{"index": 0, "finish_reason": "stop", "message": message}]
        body["usage"] = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        reply = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""
