"""Who may ask, how much, and what happens when a client goes away or the server is told to stop."""

import base64
import http.client
import json
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from serving import BUILD, BUNDLE, Server, ServerTest, ask, dataUri, EVAL

LONG = ask("Tell me a story.", ignore_eos=True)


def raw(server, data, wait=True):
    """What the server says to these bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(data)
        answer = b""
        while wait and (piece := connection.recv(65536)):
            answer += piece
        return answer


class Access(ServerTest):
    options = ("--api-key", "first", "--api-key", "second", "--cors-origin", "https://page.example")

    def testKeys(self):
        self.assertEqual(self.server.request("GET", "/health")[0], 200)
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "first"}, {"x-api-key": "thir"}):
            status, answer, reply = self.server.post("/v1/chat/completions", ask("Hi"), headers=headers)
            self.assertEqual((status, reply["error"]["code"]), (401, "invalid_api_key"))
            self.assertEqual(answer["WWW-Authenticate"], "Bearer")
            self.assertEqual(self.server.request("GET", "/metrics", headers=headers)[0], 401)
        for headers in ({"Authorization": "Bearer first"}, {"x-api-key": "second"}):
            self.assertEqual(self.server.request("GET", "/v1/models", headers=headers)[0], 200)

    def testOrigins(self):
        ours = {"Origin": "https://page.example", "x-api-key": "first"}
        status, headers, _ = self.server.request("OPTIONS", "/v1/chat/completions", headers=ours)
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (204, "https://page.example"))
        self.assertIn("x-api-key", headers["Access-Control-Allow-Headers"])
        asked = "content-type, x-stainless-os"
        headers = self.server.request("OPTIONS", "/v1/chat/completions",
                                      headers={**ours, "Access-Control-Request-Headers": asked})[1]
        self.assertEqual(headers["Access-Control-Allow-Headers"], asked)
        self.assertEqual(self.server.request("GET", "/v1/models", headers=ours)[1]["Access-Control-Allow-Origin"],
                         "https://page.example")
        status, headers, _ = self.server.request("GET", "/v1/models", headers={**ours, "Origin": "https://evil.example"})
        self.assertEqual(status, 403)
        self.assertNotIn("Access-Control-Allow-Origin", headers)


class Open(ServerTest):
    """Without a key."""
    options = ("--max-body", "100KB", "--max-media", "50KB", "--allow-media-host", "localhost", "--parallel", "2")

    def testOnlyLocalNames(self):
        for host in ("evil.example", "evil.example:8080"):
            self.assertEqual(self.server.request("GET", "/v1/models", headers={"Host": host})[0], 403)
        status, headers, _ = self.server.request("GET", "/v1/models", headers={"Origin": "https://evil.example"})
        self.assertEqual(status, 403)
        self.assertNotIn("Access-Control-Allow-Origin", self.server.request("GET", "/v1/models")[1])

    def testBodies(self):
        text = json.dumps(ask("x" * 200000))
        self.assertEqual(self.server.post("/v1/chat/completions", text)[0], 413)
        # Without a length, and packed: both are counted as they come.
        chunked = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = b"".join(b"2000\r\n" + b"x" * 0x2000 + b"\r\n" for _ in range(40))
        self.assertIn(b" 413 ", raw(self.server, chunked + body))
        import gzip
        packed = gzip.compress(text.encode() * 50)
        self.assertLess(len(packed), 50000)
        self.assertEqual(self.server.post("/v1/chat/completions", packed, headers={"Content-Encoding": "gzip"})[0], 413)
        for bad in ("", "[]", "{", "\"x\"", "{\"messages\": " + "[" * 50000, b"\xff\xfe", "null"):
            status, _, reply = self.server.post("/v1/chat/completions", bad)
            self.assertEqual((status, reply["error"]["type"]), (400, "invalid_request_error"), bad[:20])
        status, _, reply = self.server.post("/v1/chat/completions", b"--x\r\n\r\n--x--",
                                            headers={"Content-Type": "multipart/form-data; boundary=x"})
        self.assertEqual(status, 415)

    def testBodiesThatNobodyReads(self):
        for method, status in (("POST", b" 411 "), ("PUT", b" 411 "), ("DELETE", b" 404 ")):
            answer = raw(self.server, method.encode() + b" /tokenize HTTP/1.1\r\nHost: localhost\r\n"
                         b"Connection: close\r\n\r\n")
            self.assertIn(status, answer.split(b"\r\n")[0])
        # What follows a body is the next request; the body itself is none.
        inner = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = raw(self.server, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
                     + b"Content-Length: %d\r\n\r\n" % len(inner) + inner)
        self.assertEqual(answer.count(b"HTTP/1.1 "), 1)
        self.assertIn(b"Connection: close", answer)
        answer = raw(self.server, b"{\"model\": 1}\r\n\r\n" + inner)
        self.assertEqual(answer.count(b"HTTP/1.1 "), 1)

    def testBrokenHttp(self):
        for data in (b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\x16\x03\x01\x00\xff" * 20 + b"\r\n\r\n",
                     b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\nConnection: close\r\n\r\n",
                     b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n{}"):
            raw(self.server, data, wait=False)
        self.assertEqual(self.server.request("GET", "/health")[0], 200)

    def media(self, url):
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}]
        return self.server.post("/v1/chat/completions",
                                {"messages": [{"role": "user", "content": content}], "max_tokens": 1})

    def testMedia(self):
        image = EVAL / "media" / "digits_00_image0.png"
        self.assertEqual(self.media(dataUri(image))[0], 200)
        place = "messages[0].content[0].image_url.url"
        for url in ("https://example.com/a.png", "file:///etc/passwd", "/etc/passwd", "data:image/png;base64,####",
                    "data:image/png;base64," + base64.b64encode(b"no image").decode(),
                    dataUri(image)[:300]):
            status, _, reply = self.media(url)
            self.assertEqual((status, reply["error"]["param"]), (400, place), url[:40])
        self.assertEqual(self.media("data:image/png;base64," + "A" * 80000)[0], 413)
        # The name is allowed, its address is not: and nobody is asked.
        with socket.create_server(("127.0.0.1", 0)) as other:
            other.settimeout(0.2)
            status, _, reply = self.media(f"http://localhost:{other.getsockname()[1]}/a.png")
            self.assertEqual(status, 400)
            self.assertIn("private", reply["error"]["message"])
            self.assertRaises(TimeoutError, other.accept)

    def testManyMediaAreRefusedBeforeTheyTakeMemory(self):
        import struct
        import zlib

        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        image = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0))
                 + chunk(b"IDAT", zlib.compress(bytes(17 * 16))) + chunk(b"IEND", b""))
        data = base64.b64encode(image).decode()
        part = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + data, "detail": "high"}}
        block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
        self.server.request("GET", "/health")
        before = self.server.memory()
        for path, content in (("/v1/chat/completions", part), ("/v1/messages/count_tokens", block)):
            status, _, reply = self.server.post(path, {"messages": [{"role": "user", "content": [content] * 128}]})
            self.assertEqual(status, 400)
            self.assertIn("context", reply["error"]["message"])
        self.assertLess(self.server.memory() - before, 200 << 20)

    def testLongSoundsAreRefused(self):
        import io
        import wave
        file = io.BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(1)
            sound.setframerate(1000)
            sound.writeframes(b"\x80" * 1000 * 31)
        content = [{"type": "input_audio", "input_audio": {"data": base64.b64encode(file.getvalue()).decode(),
                                                           "format": "wav"}}]
        status, _, reply = self.server.post("/v1/chat/completions",
                                            {"messages": [{"role": "user", "content": content}], "max_tokens": 1})
        self.assertEqual((status, reply["error"]["param"]), (400, "messages[0].content[0].input_audio.data"))
        self.assertIn("30", reply["error"]["message"])

    def testClientsThatGoAwayAreDropped(self):
        for stream in (True, False):
            before = self.server.metric("lapidary:requests_cancelled_total")
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
            connection.request("POST", "/v1/chat/completions", json.dumps({**LONG, "stream": stream}))
            if stream:
                connection.getresponse().read(10)
            self.assertTrue(self.server.waitFor(lambda: self.server.metric("llamacpp:requests_processing") == 1))
            connection.sock.close() if connection.sock else None
            connection.close()
            self.assertTrue(self.server.waitFor(lambda: self.server.metric("llamacpp:requests_processing") == 0))
            self.assertTrue(self.server.waitFor(
                lambda: self.server.metric("lapidary:requests_cancelled_total") == before + 1))

    def testKeepAlive(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        for _ in range(3):
            for path, body in (("/tokenize", "{\"content\": \"x\"}"), ("/tokenize", "{"), ("/nothing", None)):
                connection.request("POST" if body else "GET", path, body)
                connection.getresponse().read()
            self.assertIsNotNone(connection.sock)
        connection.close()


class Queue(unittest.TestCase):
    def testBeyondTheQueueIs429(self):
        server = Server("--parallel", "1", "--max-queue", "1")
        try:
            results = []

            def run():
                results.append(server.post("/v1/chat/completions", {**LONG, "max_tokens": 600}))
            threads = [threading.Thread(target=run) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            statuses = sorted(status for status, _, _ in results)
            self.assertEqual(set(statuses), {200, 429})
            self.assertGreaterEqual(statuses.count(200), 2)
            for status, headers, reply in results:
                if status == 429:
                    self.assertGreaterEqual(int(headers["Retry-After"]), 1)
                    self.assertEqual(reply["error"]["type"], "rate_limit_error")
            self.assertEqual(server.metric("lapidary:requests_refused_total"), statuses.count(429))
            # What will never fit is not to be tried again.
            status, _, reply = server.post("/v1/chat/completions", {**LONG, "n": 3})
            self.assertEqual((status, reply["error"]["param"]), (400, "n"))
        finally:
            self.assertEqual(server.stop(), 0)

    def testTimeAndTokensAreBounded(self):
        server = Server("--timeout", "0.3", "--n-predict", "40")
        try:
            reply = server.post("/v1/chat/completions", LONG)[2]
            self.assertEqual(reply["usage"]["completion_tokens"], 40)
            self.assertEqual(reply["choices"][0]["finish_reason"], "length")
        finally:
            self.assertEqual(server.stop(), 0)
        server = Server("--timeout", "0.1")
        try:
            start = time.monotonic()
            reply = server.post("/v1/chat/completions", {**LONG, "n": 4})[2]
            self.assertLess(time.monotonic() - start, 5)
            self.assertEqual(reply["choices"][0]["finish_reason"], "length")
        finally:
            self.assertEqual(server.stop(), 0)

    def testImagesAreBounded(self):
        server = Server("--image-max-tokens", "9")
        try:
            def see(**more):
                image = {"url": dataUri(EVAL / "media" / "digits_00_image0.png"), **more}
                content = [{"type": "image_url", "image_url": image}]
                return server.post("/v1/chat/completions",
                                   {"messages": [{"role": "user", "content": content}], "max_tokens": 1})
            text = server.post("/v1/chat/completions", {**ask(""), "max_tokens": 1})[2]["usage"]["prompt_tokens"]
            for more in ({}, {"detail": "high"}, {"max_soft_tokens": 9}):
                status, _, reply = see(**more)
                self.assertEqual(status, 200)
                self.assertLess(reply["usage"]["prompt_tokens"] - text, 14)
            self.assertEqual(see(max_soft_tokens=10)[0], 400)
        finally:
            self.assertEqual(server.stop(), 0)

    def testStopsGracefully(self):
        server = Server("--parallel", "1")
        replies = []
        thread = threading.Thread(target=lambda: replies.append(
            server.post("/v1/chat/completions", {**LONG, "max_tokens": 800})))
        thread.start()
        server.waitFor(lambda: server.metric("llamacpp:requests_processing") == 1)
        server.process.send_signal(signal.SIGTERM)
        thread.join()
        self.assertEqual(replies[0][0], 200)
        self.assertEqual(replies[0][2]["usage"]["completion_tokens"], 800)
        self.assertEqual(server.process.wait(20), 0)

    def testStopsWhenever(self):
        """While it loads, and while half a request has come."""
        for delay in (0.05, 0.1, 0.2):
            process = subprocess.Popen([BUILD / "bin/lapidary", "serve", BUNDLE, "--port", "0"],
                                       stderr=subprocess.DEVNULL)
            time.sleep(delay)
            process.send_signal(signal.SIGTERM)
            # Before anything is set up, the signal itself ends the process.
            self.assertIn(process.wait(20), (0, 130, -signal.SIGTERM))
        server = Server()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
            time.sleep(0.3)
            start = time.monotonic()
            self.assertEqual(server.stop(), 0)
            self.assertLess(time.monotonic() - start, 5)

    def testStopsInTime(self):
        server = Server("--stop-timeout", "0.2")
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("POST", "/v1/chat/completions", json.dumps({**LONG, "n": 8, "stream": True}))
        response = connection.getresponse()
        response.read(10)
        start = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        # The stream ends as a stream does, with what is wrong.
        self.assertIn(b"data: [DONE]", response.read())
        self.assertEqual(server.process.wait(20), 0)
        self.assertLess(time.monotonic() - start, 10)


class Options(unittest.TestCase):
    def run_(self, *options):
        done = subprocess.run([BUILD / "bin/lapidary", "serve", BUNDLE, *options], capture_output=True, text=True,
                              timeout=60)
        return done.returncode, done.stderr

    def testOtherAddressesNeedAKey(self):
        code, text = self.run_("--host", "0.0.0.0", "--port", "0")
        self.assertEqual(code, 2)
        self.assertIn("--api-key", text)

    def testKeysComeFromAFile(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("one\r\n\n two\n")
            file.flush()
            server = Server("--api-key-file", file.name)
            try:
                for key, status in (("one", 200), (" two", 200), ("", 401), ("x", 401)):
                    headers = {"Authorization": "Bearer " + key}
                    self.assertEqual(server.request("GET", "/v1/models", headers=headers)[0], status, key)
            finally:
                self.assertEqual(server.stop(), 0)
        with tempfile.NamedTemporaryFile("w") as empty:
            self.assertEqual(self.run_("--api-key-file", empty.name)[0], 1)

    def testATakenPortIsSaid(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            code, text = self.run_("--port", str(other.getsockname()[1]))
        self.assertEqual(code, 1)
        self.assertIn("cannot listen", text)


if __name__ == "__main__":
    unittest.main()
