"""Many clients at once, some of them bad: every answer is the same as alone, and memory stays flat."""

import http.client
import json
import random
import socket
import threading

from serving import ServerTest, ask, openaiMessages, tasks

CLIENTS, REQUESTS = 32, 500


def requests():
    """Short ones of all kinds, each with one right answer."""
    bodies = [ask(f"What is {i} + {j}?", max_tokens=16) for i in range(1, 6) for j in range(1, 6)]
    bodies += [ask(f"What is the capital of {name}?", max_tokens=16)
               for name in ("France", "Italy", "Spain", "Japan", "Peru", "Egypt")]
    bodies += [{"messages": openaiMessages(task), "temperature": 0, "max_tokens": 16}
               for kind in ("digits", "shape") for task in tasks(kind)]
    bodies.append(ask("Tell me a story.", temperature=1, seed=7, max_tokens=16))
    return bodies


class Load(ServerTest):
    options = ("--parallel", "8", "--max-queue", "64")

    def content(self, body):
        """The answer's text; streams every other request."""
        if not body.get("stream"):
            status, _, reply = self.server.post("/v1/chat/completions", body)
            self.assertEqual(status, 200, reply)
            return reply["choices"][0]["message"]["content"]
        status, _, text = self.server.post("/v1/chat/completions", body)
        self.assertEqual(status, 200)
        gathered = ""
        for line in text.decode().split("\n\n"):
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    gathered += choice["delta"].get("content") or ""
        return gathered

    def hangUp(self, body):
        with socket.create_connection(("127.0.0.1", self.server.port)) as connection:
            data = json.dumps({**body, "stream": True, "max_tokens": 400, "ignore_eos": True}).encode()
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                               % len(data) + data)
            connection.recv(100)

    def sendHalf(self, body):
        with socket.create_connection(("127.0.0.1", self.server.port)) as connection:
            data = json.dumps(body).encode()
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                               % len(data) + data[:len(data) // 2])

    def round(self, bodies, expected, seed):
        numbers = iter(range(REQUESTS))
        lock = threading.Lock()
        wrong = []

        def client(own):
            chance = random.Random(own)
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                index = chance.randrange(len(bodies))
                try:
                    kind = chance.random()
                    if kind < 0.08:
                        self.hangUp(bodies[index])
                    elif kind < 0.16:
                        self.sendHalf(bodies[index])
                    else:
                        text = self.content({**bodies[index], "stream": number % 2 == 0})
                        if text != expected[index]:
                            wrong.append((bodies[index]["messages"], text, expected[index]))
                except (AssertionError, OSError, http.client.HTTPException) as error:
                    wrong.append((index, repr(error)))
        threads = [threading.Thread(target=client, args=(seed * CLIENTS + own,)) for own in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def testLoad(self):
        bodies = requests()
        expected = [self.content(body) for body in bodies]
        # The first round takes what the server keeps: caches of all sequences, threads' heaps.
        self.round(bodies, expected, 0)
        before = self.server.memory()
        self.round(bodies, expected, 1)
        self.assertTrue(self.server.waitFor(lambda: self.server.metric("llamacpp:requests_processing") == 0))
        after = self.server.memory()
        print(f"memory {before >> 20} MiB after {REQUESTS} requests, {after >> 20} MiB after {2 * REQUESTS}", flush=True)
        self.assertLess(after - before, 32 << 20)
        self.assertGreater(self.server.metric("lapidary:requests_cancelled_total"), 0)
        self.assertEqual(self.server.metric("lapidary:requests_failed_total"), 0)
        # And as at first.
        for body, text in zip(bodies, expected):
            self.assertEqual(self.content(body), text)
