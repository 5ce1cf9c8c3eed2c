"""A browser for the tests of the page: chromedriver and the W3C WebDriver protocol, by the standard library alone."""

import http.client
import json
import re
import shutil
import subprocess
import time

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004", "Shift": "\ue008", "Space": "\ue00d"}


class WebDriverError(Exception):
    pass


class Browser:
    """Headless Chromium with a microphone that beeps."""

    def __init__(self):
        driver = shutil.which("chromedriver") or "/usr/lib/chromium/chromedriver"
        self.process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            started = re.search(r"started successfully on port (\d+)", line)
            if started:
                break
        else:
            raise WebDriverError("chromedriver did not start")
        self.port = int(started.group(1))
        self.session = None
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,860",
                     "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--force-color-profile=srgb"]
        options = {"args": arguments, "binary": shutil.which("chromium") or shutil.which("google-chrome")}
        made = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"},
            "unhandledPromptBehavior": "ignore"}}})
        self.session = made["sessionId"]

    def close(self):
        try:
            if self.session:
                self.call("DELETE", "")
        finally:
            self.process.terminate()
            self.process.wait()

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        prefix = f"/session/{self.session}" if self.session else ""
        data = json.dumps(body if body is not None else {}) if method == "POST" else None
        connection.request(method, prefix + path, data, {"Content-Type": "application/json"})
        value = json.loads(connection.getresponse().read())["value"]
        connection.close()
        if isinstance(value, dict) and "error" in value:
            raise WebDriverError(f"{value['error']}: {value['message']}")
        return value

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def reload(self):
        self.call("POST", "/refresh")

    def run(self, script, *arguments):
        """The value of a function body; elements are given and taken as `find` has them."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector):
        return self.call("POST", "/element", {"using": "css selector", "value": selector})

    def findAll(self, selector):
        return self.call("POST", "/elements", {"using": "css selector", "value": selector})

    def click(self, selector):
        element = self.find(selector) if isinstance(selector, str) else selector
        self.call("POST", f"/element/{element[ELEMENT]}/click")

    def type(self, selector, text):
        self.call("POST", f"/element/{self.find(selector)[ELEMENT]}/value", {"text": text})

    def press(self, *keys):
        """Keys for whatever has the focus, all but the last held down."""
        values = [KEYS.get(key, key) for key in keys]
        actions = [{"type": "keyDown", "value": value} for value in values]
        actions += [{"type": "keyUp", "value": value} for value in reversed(values)]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0])?.innerText ?? null", selector)

    def label(self, element):
        return self.call("GET", f"/element/{element[ELEMENT]}/computedlabel")

    def role(self, element):
        return self.call("GET", f"/element/{element[ELEMENT]}/computedrole")

    def alert(self):
        """Accepts the alert or confirmation that is open, and gives its text."""
        text = self.call("GET", "/alert/text")
        self.call("POST", "/alert/accept")
        return text

    def emulate(self, **features):
        list_ = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": list_}})

    def resize(self, width, height):
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}})

    def screenshot(self):
        return self.call("GET", "/screenshot")

    def console(self):
        return self.call("POST", "/se/log", {"type": "browser"})

    def wait(self, script, *arguments, seconds=10):
        """Waits until the script's value is true, and gives it."""
        end = time.monotonic() + seconds
        while True:
            value = self.run(script, *arguments)
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {script} {arguments}")
            time.sleep(0.02)
