"""A `lapidary serve` process on the tiny checkpoint, and plain HTTP to it."""

import base64
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("LAPIDARY_BUILD", ROOT / "build"))
BUNDLE = BUILD / "test/tiny-bf16.lap"
EVAL = ROOT / "test/models/eval"


class Server:
    """Starts in the constructor, on a port of its own; `stop` ends it and gives the exit code."""

    def __init__(self, *options, bundle=BUNDLE):
        self.process = subprocess.Popen(
            [BUILD / "bin/lapidary", "serve", bundle, "--port", "0", "--ctx-size", "2048", *map(str, options)],
            stderr=subprocess.PIPE, text=True)
        self.log = []
        self.port = None
        for line in self.process.stderr:
            self.log.append(line)
            if "http://" in line:
                self.port = int(line.rsplit(":", 1)[1])
                break
        if self.port is None:
            raise RuntimeError("".join(self.log))
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def memory(self):
        """Bytes of the process's own memory: mapped files, such as the bundle, aside."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no RssAnon")

    def request(self, method, path, body=None, headers=None, timeout=60):
        """Status, headers, and the body: JSON where it is that."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            data = response.read()
            if response.getheader("Content-Type") == "application/json":
                data = json.loads(data)
            return response.status, dict(response.getheaders()), data
        finally:
            connection.close()

    def post(self, path, body, **options):
        return self.request("POST", path, body, **options)

    def metric(self, name):
        for line in self.request("GET", "/metrics")[2].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise KeyError(name)

    def waitFor(self, condition, seconds=20):
        """Whether it comes true in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.02)
        return False


class ServerTest(unittest.TestCase):
    """A server for all tests of a class, with the class's `options`."""

    options = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.options)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        assert code == 0, (code, cls.server.log)


def dataUri(path, kind="image/png"):
    return f"data:{kind};base64," + base64.b64encode(path.read_bytes()).decode()


def tasks(kind):
    """Tasks of the tiny checkpoint with what it answers."""
    lines = (EVAL / "tasks.jsonl").read_text().splitlines()
    return [task for task in map(json.loads, lines) if task["kind"] == kind]


def ask(text, **more):
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, **more}


def openaiMessages(task):
    """A task's messages with its media inline, as OpenAI's API has them."""
    media = iter(task["media"])
    messages = json.loads(json.dumps(task["messages"]))
    for message in messages:
        if isinstance(message["content"], str):
            continue
        for index, part in enumerate(message["content"]):
            if part["type"] == "image":
                part = {"type": "image_url", "image_url": {"url": dataUri(EVAL / "media" / next(media))}}
            elif part["type"] == "audio":
                data = base64.b64encode((EVAL / "media" / next(media)).read_bytes()).decode()
                part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
            elif part["type"] == "video":
                video = next(media)
                frames = [dataUri(EVAL / "media" / name) for name in video["frames"]]
                part = {"type": "video_url", "video_url": {"frames": frames, "fps": video["fps"]}}
            message["content"][index] = part
    return messages


def run(task):
    """What `lapidary run` answers to a task."""
    media = []
    with tempfile.TemporaryDirectory() as folder:
        for index, medium in enumerate(task["media"]):
            if isinstance(medium, dict):
                # A clip is a folder of pictures, one a second.
                clip = pathlib.Path(folder) / str(index)
                clip.mkdir()
                for place, name in enumerate(medium["frames"]):
                    shutil.copy(EVAL / "media" / name, clip / f"{place:02}.png")
                media += ["--video", clip, "--video-fps", medium["fps"]]
            else:
                media += ["--image" if medium.endswith(".png") else "--audio", EVAL / "media" / medium]
        command = [BUILD / "bin/lapidary", "run", BUNDLE, "--messages", "-", "--temperature", "0", "--max-tokens", "40",
                   "--context", "2048", "--json", *map(str, media)]
        text = json.dumps({"messages": task["messages"], "options": task["options"]})
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)["text"]
