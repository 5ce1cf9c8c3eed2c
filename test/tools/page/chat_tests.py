"""Asking, streaming, stopping, trying again; thoughts, tools, settings, what is kept."""

import json
import re
import threading
import time

from support import content, drop, expect, idle, png, send, test


@test
def sends_and_streams(page, mock):
    go = threading.Event()

    def answer(request):
        yield {"role": "assistant", "content": "First "}
        yield {"content": "half"}
        go.wait(10)
        yield {"content": ", second half."}

    mock.answer = answer
    send(page, "Hi there")
    page.wait("return document.querySelector('.assistant > .content')?.innerText === 'First half'")
    expect(page.run("return [$('stop').hidden, $('send').hidden]"), [False, True], "buttons while answering")
    expect(page.run("return document.querySelector('.assistant').getAttribute('aria-busy')"), "true")
    expect(page.run("return $('status').textContent"), "Answering")
    go.set()
    idle(page)
    expect(content(page), "First half, second half.")
    expect(page.run("return [$('stop').hidden, $('send').hidden]"), [True, False], "buttons after")
    expect(page.run("return $('status').textContent"), "Answer complete")
    expect(page.run("return document.querySelector('.assistant').getAttribute('aria-busy')"), "false")
    stats = page.text(".assistant .stats")
    for part in ("3 tokens", "12.5 tokens/s", "20 prompt tokens, 7 known", "s to the first"):
        assert part in stats, stats
    request = mock.requests[-1]
    expect(request["messages"], [{"role": "user", "content": "Hi there"}])
    expect((request["model"], request["stream"], request["stream_options"]), ("tiny", True, {"include_usage": True}))
    assert "temperature" not in request, "the model's own sampling"
    send(page, "And now?")
    idle(page, 2)
    expect([m["role"] for m in mock.requests[-1]["messages"]], ["user", "assistant", "user"])
    expect(mock.requests[-1]["messages"][1]["content"], "First half, second half.")


@test
def text_in_any_pieces(page, mock):
    # Characters and events cut anywhere by the network are put together again.
    text = "Grüße, 世界 🪨 — **fett**"
    mock.say(*text)
    send(page, "Say it")
    idle(page)
    expect(content(page), text.replace("*", ""))


def endless(request):
    for index in range(10000):
        yield {"content": f"word{index} "}
        time.sleep(0.01)


@test
def stops_by_escape_and_by_button(page, mock):
    mock.answer = endless
    for index, stop in enumerate((lambda: page.press("Escape"), lambda: page.click("#stop"))):
        mock.gone.clear()
        send(page, "Go on")
        page.wait("return [...document.querySelectorAll('.assistant > .content')].at(-1)?.innerText.includes('word3')")
        stop()
        idle(page, index + 1)
        assert "word3" in content(page), "what came before stays"
        assert "stopped" in page.run("return [...document.querySelectorAll('.stats')].at(-1).textContent")
        assert mock.gone.wait(5), "the server hears of it"
        expect(page.run("return document.activeElement.id"), "prompt", "focus")


@test
def retries_and_edits(page, mock):
    mock.say("First try")
    send(page, "Question")
    idle(page)
    mock.say("Second try")
    page.click(page.run("return [...document.querySelectorAll('.assistant button')].find((b) => b.textContent === 'Retry')"))
    page.wait("return document.querySelector('.assistant > .content')?.innerText === 'Second try'")
    idle(page)
    expect(page.run("return document.querySelectorAll('.message').length"), 2)
    expect(mock.requests[-1]["messages"], [{"role": "user", "content": "Question"}])
    # In the middle of an answer too.
    mock.answer = endless
    send(page, "More")
    page.wait("return [...document.querySelectorAll('.assistant > .content')].at(-1).innerText.includes('word1')")
    mock.say("Third")
    page.click(page.run("return [...document.querySelectorAll('.assistant button')].filter((b) => b.textContent === 'Retry').at(-1)"))
    page.wait("return [...document.querySelectorAll('.assistant > .content')].at(-1).innerText === 'Third'")
    idle(page, 2)
    page.click(page.run("return [...document.querySelectorAll('.user button')].find((b) => b.textContent === 'Edit')"))
    expect(page.run("return [$('prompt').value, document.querySelectorAll('.message').length]"), ["Question", 0])
    page.type("#prompt", ", better")
    page.press("Enter")
    idle(page)
    expect(mock.requests[-1]["messages"], [{"role": "user", "content": "Question, better"}])


@test
def thinking(page, mock):
    go = threading.Event()

    def answer(request):
        yield {"reasoning_content": "I **wonder"}
        go.wait(10)
        yield {"reasoning_content": "**."}
        yield {"content": "Done."}

    mock.answer = answer
    send(page, "No thought asked")
    page.wait("return document.querySelector('.assistant summary')?.textContent === 'Thinking …'")
    go.set()
    idle(page)
    expect(mock.requests[-1]["chat_template_kwargs"], {"enable_thinking": False})
    expect(page.run("const d = document.querySelector('.assistant details'); return [d.open, d.hidden, d.textContent.includes('I wonder.')]"),
           [False, False, True])
    assert re.fullmatch(r"Thought for \d+\.\d s", page.text(".assistant summary"))
    expect(content(page), "Done.")
    page.click("#think")
    send(page, "Think")
    idle(page, 2)
    request = mock.requests[-1]
    expect(request["chat_template_kwargs"], {"enable_thinking": True})
    expect(request["messages"][1], {"role": "assistant", "content": "Done."}, "thoughts are not sent back")
    page.reload()
    expect(page.run("return $('think').checked"), True)


TOOL = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]


@test
def tools(page, mock):
    page.click("#open-settings")
    page.type("[name=tools]", "{not json")
    page.click("#settings .main")
    assert page.text("#settings-error").startswith("Tools: "), page.text("#settings-error")
    page.run("document.querySelector('[name=tools]').value = arguments[0]", json.dumps(TOOL))
    page.click("#settings .main")
    expect(page.run("return $('settings').open"), False)
    mock.answer = lambda request: iter([
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": "Bo'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'nn"}'}}]},
        {"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}]},
        ("finish", "tool_calls")])
    send(page, "Weather?")
    idle(page)
    expect(mock.requests[-1]["tools"], TOOL)
    expect(page.run("return [...document.querySelectorAll('.call summary, .call pre')].map((e) => e.textContent)"),
           ["Call: weather", '{\n  "city": "Bonn"\n}', "Call: weather", '{\n  "city": "Ulm"\n}'])
    mock.say("Rain and sun.")
    page.type(".calls label:nth-of-type(1) textarea", "rain")
    page.type(".calls label:nth-of-type(2) textarea", "sun")
    page.click(".calls form button")
    page.wait("return [...document.querySelectorAll('.assistant > .content')].at(-1).innerText === 'Rain and sun.'")
    idle(page, 2)
    messages = mock.requests[-1]["messages"]
    expect([message["role"] for message in messages], ["user", "assistant", "tool", "tool"])
    expect(messages[1]["tool_calls"][0], {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}})
    expect(messages[3], {"role": "tool", "tool_call_id": "c2", "name": "weather", "content": "sun"})


@test
def errors(page, mock):
    mock.refusal = (400, "'messages' is empty")
    send(page, "Hi")
    idle(page)
    expect(page.text(".assistant .error"), "'messages' is empty")
    expect(page.run("return $('status').textContent"), "'messages' is empty")
    mock.refusal = None
    mock.answer = lambda request: iter([{"content": "Half"}, ("raw", {"error": {"message": "out of memory"}})])
    page.click(page.run("return [...document.querySelectorAll('button')].find((b) => b.textContent === 'Retry')"))
    page.wait("return document.querySelector('.assistant .error')?.textContent === 'out of memory'")
    expect(content(page), "Half")
    expect(mock.requests[-1]["messages"], [{"role": "user", "content": "Hi"}], "an answer that failed is not sent")
    mock.answer = lambda request: iter([{"content": "Cut"}, ("cut",)])
    idle(page)
    page.click(page.run("return [...document.querySelectorAll('button')].find((b) => b.textContent === 'Retry')"))
    page.wait("return document.querySelector('.assistant .error')?.textContent.startsWith('The connection ended')")
    mock.answer = lambda request: iter([{"content": "Long"}, ("finish", "length")])
    idle(page)
    page.click(page.run("return [...document.querySelectorAll('button')].find((b) => b.textContent === 'Retry')"))
    page.wait("return document.querySelector('.stats')?.textContent.includes('cut: length')")
    page.run("window.fetch = async () => { throw new TypeError('down') }")
    idle(page)
    page.click(page.run("return [...document.querySelectorAll('button')].find((b) => b.textContent === 'Retry')"))
    page.wait("return document.querySelector('.assistant .error')?.textContent === 'The server cannot be reached.'")


@test
def settings(page, mock):
    page.click("#open-settings")
    expect(page.run("return document.activeElement.name"), "system", "focus goes into the dialog")
    fields = {"system": "Be brief.", "temperature": "0.5", "top_k": "20", "top_p": "0.9", "min_p": "0.1", "repeat_penalty": "1.1",
              "presence_penalty": "0.2", "frequency_penalty": "-0.3", "seed": "7", "max_tokens": "50", "thinking_budget_tokens": "9",
              "key": "secret"}
    for name, value in fields.items():
        page.type(f"[name={name}]", value)
    page.run("document.querySelector('[name=detail]').value = 'high'")
    page.click("#settings .main")
    page.click("#think")
    drop(page, "a.png", "image/png", png())
    page.wait("return attachments.length === 1")
    send(page, "Hi")
    idle(page)
    request = mock.requests[-1]
    expect(request["messages"][0], {"role": "system", "content": "Be brief."})
    expect(request["messages"][1]["content"][0]["image_url"]["detail"], "high")
    for name, value in fields.items():
        if name not in ("system", "key"):
            expect(request[name], float(value), name)
    expect(mock.headers[-1]["Authorization"], "Bearer secret")
    assert "secret" not in page.run("return JSON.stringify(localStorage)")
    # They last, but those that are emptied are the model's own again; what is cancelled changes nothing.
    page.reload()
    page.click("#open-settings")
    expect(page.run("return document.querySelector('[name=temperature]').value"), "0.5")
    page.run("document.querySelector('[name=temperature]').value = ''")
    page.click("#settings .main")
    page.click("#open-settings")
    page.run("document.querySelector('[name=top_k]').value = '3'")
    page.press("Escape")
    page.wait("return !$('settings').open")
    send(page, "Hi")
    idle(page)
    assert "temperature" not in mock.requests[-1]
    expect(mock.requests[-1]["top_k"], 20)
    # A number out of range does not leave the dialog.
    page.click("#open-settings")
    page.run("document.querySelector('[name=top_p]').value = '7'")
    page.click("#settings .main")
    expect(page.run("return $('settings').open"), True)


@test
def conversations(page, mock):
    mock.say("One.")
    send(page, "First question")
    idle(page)
    page.click("#menu")
    expect(page.run("return $('menu').getAttribute('aria-expanded')"), "true")
    page.click("#new")
    expect(page.run("return document.querySelectorAll('.message').length"), 0)
    mock.say("Two.")
    send(page, "Second question")
    idle(page)
    page.reload()
    expect(page.run("return [...document.querySelectorAll('nav .open')].map((e) => e.textContent)"), ["Second question", "First question"])
    page.click("nav li:nth-child(2) .open")
    expect(page.run("return [...document.querySelectorAll('.message .content')].map((e) => e.innerText).filter(Boolean)"), ["First question", "One."])
    send(page, "Go on")
    idle(page, 2)
    expect([m["content"] for m in mock.requests[-1]["messages"]], ["First question", "One.", "Go on"])
    page.click("nav li:nth-child(2) button[aria-label^=Delete]")
    assert "Second question" in page.alert()
    page.wait("return document.querySelectorAll('nav .open').length === 1")
    page.reload()
    expect(page.run("return [...document.querySelectorAll('nav .open')].map((e) => e.textContent)"), ["First question"])
    # Where the storage is full the oldest go, and nothing fails.
    page.run("""const big = 'x'.repeat(900000); localStorage.setItem('lapidary.conversations', JSON.stringify(
      Array.from({ length: 5 }, (_, index) => ({ title: `c${index}`, time: 10 - index, messages: [{ role: 'user', content: big }] }))))""")
    page.reload()
    page.run("$('prompt').value = 'y'.repeat(900000); send()")
    idle(page)
    titles = page.run("return JSON.parse(localStorage.getItem('lapidary.conversations')).map((e) => e.title)")
    assert titles[0].startswith("yyy") and "c0" in titles and "c4" not in titles, titles


@test
def follows_the_answer_unless_scrolled_away(page, mock):
    go = threading.Event()

    def answer(request):
        for _ in range(60):
            yield {"content": "A line.\n\n"}
        go.wait(10)
        yield {"content": "Another line.\n\n" * 20}

    mock.answer = answer
    send(page, "Long")
    page.wait("return document.querySelectorAll('.assistant p').length >= 60")
    page.wait("const log = $('log'); return log.scrollHeight - log.scrollTop - log.clientHeight < 5")
    page.run("$('log').scrollTop = 100; document.querySelector('.assistant p').mark = true")
    go.set()
    idle(page)
    expect(page.run("return $('log').scrollTop"), 100)
    expect(page.run("return document.querySelector('.assistant p').mark"), True, "what has not changed stays as it is")
