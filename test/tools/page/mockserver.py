"""A server of the page whose answers the tests decide, event by event."""

import http.server
import json
import threading


class Mock:
    """`answer` takes a request's JSON and yields events: a delta (a dictionary), ("finish", reason), ("raw", an event), or
    ("cut",), which ends the connection. `requests` has what was asked."""

    def __init__(self, page):
        self.page = page
        self.answer = lambda request: iter([{"content": "Hello."}])
        self.refusal = None
        self.requests, self.headers, self.paths = [], [], []
        self.gone = threading.Event()
        mock = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def reply(self, status, kind, body):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                mock.paths.append(self.path)
                if self.path == "/":
                    with open(mock.page, "rb") as file:
                        self.reply(200, "text/html; charset=utf-8", file.read())
                elif self.path == "/v1/models":
                    self.reply(200, "application/json", json.dumps({"object": "list", "data": [{"id": "tiny"}]}).encode())
                else:
                    self.reply(404, "application/json", b'{"error": {"message": "no such path"}}')

            def do_POST(self):
                mock.paths.append(self.path)
                mock.headers.append(dict(self.headers))
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                mock.requests.append(request)
                if mock.refusal:
                    status, message = mock.refusal
                    return self.reply(status, "application/json", json.dumps({"error": {"message": message}}).encode())
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                try:
                    self.stream(request)
                except (BrokenPipeError, ConnectionResetError):
                    mock.gone.set()

            def event(self, value):
                self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
                self.wfile.flush()

            def stream(self, request):
                count, finish = 0, "stop"
                for step in mock.answer(request):
                    if isinstance(step, dict):
                        count += 1
                        self.event({"choices": [{"index": 0, "delta": step, "finish_reason": None}]})
                    elif step[0] == "finish":
                        finish = step[1]
                    elif step[0] == "raw":
                        self.event(step[1])
                    elif step[0] == "cut":
                        return
                self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
                self.event({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": count,
                                                     "prompt_tokens_details": {"cached_tokens": 7}},
                            "timings": {"predicted_per_second": 12.5}})
                self.wfile.write(b"data: [DONE]\n\n")

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def say(self, *pieces, reasoning=()):
        """The answers from now on: these pieces of text."""
        steps = [{"reasoning_content": piece} for piece in reasoning] + [{"content": piece} for piece in pieces]
        self.answer = lambda request: iter(steps)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
