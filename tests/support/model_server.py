"""A model's API on this machine: the answers of chat completions and embeddings, whole, streamed, or failing."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 30,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 20},
    "completion_tokens_details": {"reasoning_tokens": 10},
}
MODEL = "gpt-4o-mini-2024-07-18"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if asked["model"] == "busy":
            self._answer(429, json.dumps({"error": {"message": "slow down", "type": "rate_limit"}}))
        elif self.path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.0, 1.0]}]
            usage = {"prompt_tokens": 7, "total_tokens": 7}
            self._answer(200, json.dumps({"object": "list", "model": asked["model"], "data": data, "usage": usage}))
        elif asked.get("stream"):
            chunks = [_chunk({"role": "assistant", "content": "Hel"}), _chunk({"content": "lo"}), _chunk({}, "stop")]
            chunks.append({**_chunk({}), "choices": [], "usage": USAGE})
            lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
            self._answer(200, "".join([*lines, "data: [DONE]\n\n"]), "text/event-stream")
        else:
            message = {"role": "assistant", "content": "Hello"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            whole = {"id": "c1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]}
            self._answer(200, json.dumps({**whole, "usage": USAGE}))

    def _answer(self, status: int, body: str, kind: str = "application/json") -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as there
        pass


def _chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}


@contextmanager
def model_server() -> Iterator[str]:
    """Serve; yields the base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
