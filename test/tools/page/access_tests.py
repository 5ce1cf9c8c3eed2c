"""Keyboard, screen readers, colours, narrow screens; and that nobody else is asked for anything."""

import re

from support import PAGE, drop, expect, idle, png, send, test


@test
def loads_without_asking_anyone_else(page, mock):
    expect(page.text("#model"), "tiny")
    expect(page.run("return document.activeElement.id"), "prompt", "focus")
    expect(page.run("return performance.getEntriesByType('resource').map((e) => e.name)"), [mock.url + "v1/models"])
    expect([path for path in mock.paths if path not in ("/", "/v1/models", "/v1/chat/completions")], [], "paths")
    text = open(PAGE).read()
    expect(re.findall(r"(?:src|href)=[\"']?(?:https?:)?//[^\"' >]*", text), [], "outside references")
    # A page that is broken into may not send what it has anywhere either.
    page.run("fetch('https://example.org/').catch(() => { window.refused = true }); "
             "const i = new Image(); i.onerror = () => { window.refusedImage = true }; i.src = 'https://example.org/a.png'")
    page.wait("return window.refused && window.refusedImage")


@test
def keyboard(page, mock):
    page.type("#prompt", "one")
    page.press("Shift", "Enter")
    page.type("#prompt", "two")
    expect(page.run("return $('prompt').value"), "one\ntwo")
    page.press("Enter")
    idle(page)
    expect(mock.requests[-1]["messages"][0]["content"], "one\ntwo")
    # Nothing to send, nothing sent.
    page.press("Enter")
    expect(len(mock.requests), 1)
    # The way of the Tab key: to the message first, then all controls, in the order they are seen.
    page.run("document.activeElement.blur(); document.querySelector('.skip').focus()")
    order = []
    for _ in range(13):
        order.append(page.run("const e = document.activeElement; return e.id || e.textContent"))
        page.press("Tab")
    expect(order, ["Skip to the message", "menu", "theme", "open-settings", "log", "Copy", "Edit", "Copy", "Retry", "prompt",
                   "attach", "record", "think"])
    page.run("document.querySelector('.skip').focus()")
    page.press("Enter")
    expect(page.run("return document.activeElement.id"), "prompt", "after the skip link")


LUMINANCE = """
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number); return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
  const back = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
  const ratio = (e) => { const [a, b] = [light(getComputedStyle(e).color), light(back(e))].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); };
"""


@test
def light_and_dark(page, mock):
    mock.say("# T\n\nText `code` [link](https://example.org)\n\n> quote\n\n```\ncode\n```", reasoning=["hm"])
    send(page, "Hi")
    idle(page)

    def background():
        return page.run(LUMINANCE + "return light(getComputedStyle(document.body).backgroundColor)")

    def contrast():
        worst = page.run(LUMINANCE + """return [...document.querySelectorAll('button, summary, p, h1, h2, code, a, span, .content, figcaption, textarea, label')]
          .filter((e) => e.textContent.trim() && e.checkVisibility() && !e.classList.contains('skip'))
          .map((e) => [ratio(e), e.tagName, e.className, e.textContent.slice(0, 20)]).sort((a, b) => a[0] - b[0])[0]""")
        assert worst[0] >= 4.5, worst

    page.emulate(prefers_color_scheme="light")
    assert background() > 0.8
    contrast()
    page.emulate(prefers_color_scheme="dark")
    assert background() < 0.05
    contrast()
    expect(page.run("return $('theme').getAttribute('aria-label')"), "Theme: auto")
    page.click("#theme")
    assert background() > 0.8, "the switch outdoes the system"
    page.click("#theme")
    page.emulate(prefers_color_scheme="light")
    assert background() < 0.05
    page.reload()
    expect(page.run("return $('theme').getAttribute('aria-label')"), "Theme: dark")
    assert background() < 0.05, "it lasts"


@test
def screen_readers(page, mock):
    mock.say("Hi [link](https://example.org)\n\n```py\nx\n```", reasoning=["hm"])
    drop(page, "cat.png", "image/png", png())
    page.wait("return attachments.length === 1")
    send(page, "Hello")
    idle(page)
    page.click("#menu")
    drop(page, "dog.png", "image/png", png())
    page.wait("return attachments.length === 1")
    nameless = []
    for element in page.findAll("button, input, textarea, select, a, img, pre, [role]"):
        if not page.run("return arguments[0].checkVisibility()", element):
            continue
        if not page.label(element) and page.role(element) not in ("status",):
            nameless.append(page.run("return arguments[0].outerHTML.slice(0, 100)", element))
    expect(nameless, [], "controls without a name")
    expect(page.role(page.find("#log")), "log")
    expect(page.run("return [$('log').getAttribute('aria-live'), $('status').getAttribute('role')]"), ["polite", "status"])
    expect([page.label(element) for element in page.findAll("article")], ["You", "Answer"])
    expect(page.label(page.find("#prompt")), "Message")
    expect(page.label(page.find(".user img")), "Image cat.png")
    expect(page.label(page.find("#attached .remove")), "Remove dog.png")
    expect(page.run("return [document.documentElement.lang, document.querySelectorAll('h1').length, document.title]"), ["en", 1, "Lapidary"])
    page.click("#open-settings")
    expect(page.label(page.find("dialog")), "Settings")
    expect([page.run("return arguments[0].name", element) for element in page.findAll("dialog [name]") if not page.label(element)], [])


@test
def narrow_screens(page, mock):
    mock.say("| " + " | ".join(f"column {i}" for i in range(20)) + " |\n|" + "---|" * 20 + "\n\n```\n" + "x" * 300 + "\n```\n\n" + "y" * 300)
    page.resize(360, 640)
    send(page, "Wide")
    idle(page)
    expect(page.run("return [document.documentElement.scrollWidth <= 360, $('log').scrollWidth <= 360]"), [True, True])
    expect(page.run("return $('send').getBoundingClientRect().right <= 360"), True)
    page.resize(1280, 860)
