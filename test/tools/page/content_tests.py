"""What answers look like, and that nothing in them becomes markup."""

from support import drop, expect, idle, png, send, test

MARKDOWN = """# Heading with `code`

Some **bold**, *italic*, ***both***, ~~gone~~, __also__ snake_case_name, 2 * 3 * 4, \\*literal\\*, a [link](https://example.org/a_(b) "title") and
https://example.org/x?y=1. And <https://example.org>.

```cpp
int main() { return 1 < 2; }
// **not bold**
```

- one
- two
  - inner

    second paragraph
  1. numbered
- [x] done

3. three
4. four

| left | right |
|:-----|------:|
| `a|b` | 1 \\| 2 |
| **x** | |

> quoted
> - list

---
~~~
unclosed"""


@test
def markdown(page, mock):
    # In one piece, and piece by piece: what is shown in the end is the same.
    mock.say(MARKDOWN)
    send(page, "Format")
    idle(page)
    whole = page.run("return document.querySelector('.assistant > .content').innerHTML")
    mock.say(*[MARKDOWN[at:at + 7] for at in range(0, len(MARKDOWN), 7)])
    send(page, "Again")
    idle(page, 2)
    expect(page.run("return [...document.querySelectorAll('.assistant > .content')].at(-1).innerHTML"), whole)
    page.run("window.box = document.querySelector('.assistant > .content')")

    def texts(selector):
        return page.run("return [...box.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)

    expect(texts("h2"), ["Heading with code"])
    expect(texts("h2 code"), ["code"])
    expect(texts("p > strong"), ["bold", "both", "also"])
    expect(texts("p em"), ["italic", "both"])
    expect(texts("del"), ["gone"])
    paragraph = texts("p")[0]
    for part in ("snake_case_name", "*literal*", "2 * 3 * 4"):
        assert part in paragraph, (part, paragraph)
    expect(page.run("return [...box.querySelectorAll('a')].map((a) => [a.textContent, a.href, a.rel])"),
           [["link", "https://example.org/a_(b)", "noopener noreferrer nofollow"],
            ["https://example.org/x?y=1", "https://example.org/x?y=1", "noopener noreferrer nofollow"],
            ["https://example.org", "https://example.org/", "noopener noreferrer nofollow"]])
    expect(texts("pre code"), ["int main() { return 1 < 2; }\n// **not bold**", "unclosed"])
    expect(texts("figcaption span"), ["cpp", "code"])
    expect(page.run("return [...box.querySelectorAll(':scope > ul > li')].map((l) => l.firstChild.textContent.trim())"), ["one", "two", ""])
    expect(texts("li li p"), ["second paragraph"])
    expect(texts("ol li"), ["numbered", "three", "four"])
    expect(page.run("return box.querySelector(':scope > ol').start"), 3)
    expect(page.run("const b = box.querySelector('input'); return [b.type, b.checked, b.disabled]"), ["checkbox", True, True])
    expect(page.run("return [...box.querySelectorAll('tr')].map((r) => [...r.children].map((c) => c.tagName + ':' + c.textContent))"),
           [["TH:left", "TH:right"], ["TD:`a", "TD:b`"], ["TD:x", "TD:"]])
    expect(page.run("return getComputedStyle(box.querySelectorAll('th')[1]).textAlign"), "right")
    expect(texts("blockquote li"), ["list"])
    expect(len(texts("hr")), 1)
    page.run("window.copied = null; navigator.clipboard.writeText = async (text) => { copied = text }")
    page.click(page.run("return box.querySelector('figure button')"))
    page.wait("return copied === 'int main() { return 1 < 2; }\\n// **not bold**'")
    expect(page.run("return box.querySelector('figure button').textContent"), "Copied")


@test
def markdown_of_hostile_size(page, mock):
    # Texts that make careless parsers quadratic or recurse for ever.
    for piece in ("*a", "[", "**", "`" , "> ", "- ", "_a ", "![a](", "|-", "[a](b", "<", "~~x"):
        seconds = page.run("const start = performance.now(); showMarkdown(document.createElement('div'), arguments[0].repeat(20000));"
                           "return (performance.now() - start) / 1000", piece)
        assert seconds < 3, (piece, seconds)


ATTACKS = [
    "<script>window.pwned = 1</script>", "<img src=x onerror='window.pwned = 1'>", "<svg/onload=window.pwned=1>",
    "[click](javascript:window.pwned=1)", "[click](JaVaScRiPt:window.pwned=1)", "[click]( java\nscript:window.pwned=1)",
    "[click](data:text/html,<script>window.pwned=1</script>)", "![x](javascript:window.pwned=1)", "<javascript:window.pwned=1>",
    "![x](https://example.org/leak.png)", "[a](https://example.org/\" onmouseover=\"window.pwned=1)",
    "```<img src=x onerror=window.pwned=1>\n<img src=x onerror=window.pwned=1>\n```", "`<img src=x onerror=window.pwned=1>`",
    "| <img src=x onerror=window.pwned=1> |\n|---|\n| <iframe src=javascript:window.pwned=1> |",
    "[<img src=x onerror=window.pwned=1>](https://example.org)", "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<a href='javascript:window.pwned=1'>x</a>", "&lt;img src=x onerror=window.pwned=1&gt;", "<style>*{display:none}</style>",
    "[x](/v1/models)", "[x](//example.org)", "[x](vbscript:x)", "<form action=https://example.org><input name=a></form>",
]


@test
def no_markup_gets_in(page, mock):
    everything = "\n\n".join(ATTACKS)
    for attack in (*ATTACKS, everything):
        mock.answer = lambda request: iter([
            {"reasoning_content": attack}, {"content": attack},
            {"tool_calls": [{"index": 0, "id": attack, "function": {"name": attack, "arguments": attack}}]}])
        fresh_answers = page.run("return document.querySelectorAll('.assistant').length")
        page.run("$('prompt').value = arguments[0]; send()", attack)
        idle(page, fresh_answers + 1)
    drop(page, "<img src=x onerror=window.pwned=1>.png", "image/png", png())
    page.wait("return attachments.length === 1")
    page.click("#menu")
    check = """return [window.pwned ?? null, document.querySelectorAll('#log script, #log iframe, #log svg, #log style, #log img, #log object, nav img').length,
      [...document.querySelectorAll('#log a')].map((a) => new URL(a.href).origin).filter((o) => o !== 'https://example.org'),
      [...document.querySelectorAll('#log *, nav *, #attached *')].flatMap((e) => e.getAttributeNames()).filter((n) => n.startsWith('on')).length]"""
    expect(page.run(check), [None, 0, [], 0])
    page.reload()
    page.wait("return document.querySelectorAll('nav .open').length === 1")
    page.click("nav .open")
    page.wait("return document.querySelectorAll('.assistant').length > 20")
    expect(page.run(check), [None, 0, [], 0], "from storage")
    # Even our own script cannot make elements from strings.
    expect(page.run("try { document.body.insertAdjacentHTML('beforeend', '<b>x</b>'); return 'made' } catch (e) { return e.name }"), "TypeError")
    # What somebody else wrote into the storage neither.
    page.run("""localStorage.setItem('lapidary.conversations', JSON.stringify([{title: {}, messages: 5}, null, 7,
      {title: '<img src=x onerror=window.pwned=1>', messages: [null, {role: 'evil'}, {role: 'user', content: {a: 1}, media: [{kind: 'image', name: 'x', url: 'javascript:1'}]}]}]))""")
    page.reload()
    page.wait("return document.querySelectorAll('nav .open').length === 1")
    page.click("nav .open")
    expect(page.run("return [window.pwned ?? null, document.querySelectorAll('.user').length, document.querySelectorAll('img').length]"), [None, 1, 0])
