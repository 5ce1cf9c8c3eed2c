"""The page on `lapidary serve` with the tiny checkpoint: what it answers, it answers here too."""

import base64
import json
import os
import re
import subprocess
import threading

from support import content, expect, idle, send

GOLDEN = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../golden"))


def start(lapidary, bundle):
    server = subprocess.Popen([lapidary, "serve", bundle, "--port", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    # The line with the address says that the port is open.
    for line in server.stderr:
        found = re.search(r"http://\S+", line)
        if found:
            # Nobody reads the rest.
            threading.Thread(target=server.stderr.read, daemon=True).start()
            return server, found[0] + "/"
    raise RuntimeError("no server")


def ask(page, text, file=None):
    """The answer in a conversation of its own."""
    page.click("#new")
    if file:
        page.type("#files", os.path.join(GOLDEN, file))
        page.wait("return attachments.length === 1")
    send(page, text)
    idle(page)
    expect(page.run("return document.querySelector('.assistant .error').textContent"), "", "error")
    return content(page)


def talk(page):
    page.click("#menu")
    page.click("#open-settings")
    page.type("[name=temperature]", "0")
    page.click("#settings .main")
    expect(ask(page, "What is 7 + 12?"), "19")
    assert "tokens/s" in page.text(".assistant .stats")
    expect(ask(page, "Which keys were pressed?", "audio_keys/audio0.wav"), "5 # 1 2")
    page.click("#think")
    expect(ask(page, "What is 3 + 5?"), "8")
    page.click("#think")
    expect(page.run("return document.querySelector('.assistant details .content').textContent"), "Add 3 and 5 to get 8.")
    with open(os.path.join(GOLDEN, "tool_call/case.json")) as file:
        tools = json.load(file)["options"]["tools"]
    page.click("#open-settings")
    page.run("document.querySelector('[name=tools]').value = arguments[0]", json.dumps(tools))
    page.click("#settings .main")
    ask(page, "What is the weather in Lima?")
    expect(page.run("return [...document.querySelectorAll('.call')].map((e) => e.textContent)"), ['Call: get_weather{\n  "city": "Lima"\n}'])
    page.type(".calls textarea", "18")
    page.click(".calls form button")
    idle(page, 2)
    expect(content(page), "It is 18 degrees in Lima.")
    page.click("#open-settings")
    page.run("document.querySelector('[name=tools]').value = ''")
    page.click("#settings .main")
    expect(ask(page, "What number is in the image?", "image_digits/image0.png"), "4071")
    expect([entry for entry in page.console() if entry["level"] == "SEVERE"], [], "the console")


def check(page, lapidary, bundle, shot):
    server, url = start(lapidary, bundle)
    try:
        page.open(url)
        page.run("localStorage.clear()")
        page.reload()
        page.wait("return document.querySelector('#model').textContent !== ''")
        page.console()
        if shot:
            page.resize(1000, 620)
        talk(page)
        if shot:
            with open(shot, "wb") as file:
                file.write(base64.b64decode(page.screenshot()))
    finally:
        server.terminate()
        server.wait(20)
