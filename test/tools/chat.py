"""Talks to `lapidary chat` in the ways that people do.

    chat.py LAPIDARY BUNDLE GOLDEN FOLDER
"""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

LAPIDARY, BUNDLE, GOLDEN, FOLDER = sys.argv[1:]
COMMAND = [LAPIDARY, "chat", BUNDLE, "--context", "2048"]
GREEDY = ["--temperature", "0", "--max-tokens", "12"]
failed = False

def report(name, ok, *detail):
    global failed
    failed |= not ok
    print(f"{name}: {'ok' if ok else 'FAIL ' + repr(detail)}", flush=True)

def chat(lines, *options):
    result = subprocess.run(COMMAND + list(options), input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=200)
    return result.returncode, result.stdout, result.stderr

def run(messages, **options):
    """What `lapidary run` answers."""
    path = os.path.join(FOLDER, "messages.json")
    with open(path, "w") as file:
        json.dump({"messages": messages, "options": options}, file)
    return subprocess.run([LAPIDARY, "run", BUNDLE, "--messages", path, "--context", "2048", *GREEDY], capture_output=True,
                          text=True, timeout=200).stdout

code, out, err = chat(["/help", "/nothing", "/think maybe", "/save", "/image", "/stats", "/quit", "never said"])
report("commands", code == 0 and out == "" and all(text in err for text in (
    "/image FILE", "no command /nothing", "/think takes on or off", "/save takes a file", "/image takes a file",
    "0 of 2048 positions")), code, out, err)

first = [{"role": "user", "content": "Say hi."}]
answer = run(first)
code, out, err = chat(["Say hi.", "", "/stats"], *GREEDY)
report("answer", code == 0 and out == answer != "" and "of which 0 were known" in err, out, answer, err)

code, out, err = chat(["/system Be short.", "Say \\", "hi.", "Again.", "/stats"], *GREEDY)
turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Say \nhi."}]
one = run(turns)
turns += [{"role": "assistant", "content": one.removesuffix("\n")}, {"role": "user", "content": "Again."}]
known = re.search(r"(\d+) prompt tokens, of which (\d+) were known", err)
report("next turn", code == 0 and out == one + run(turns) and known and int(known[2]) > 20, out, err)

saved = os.path.join(FOLDER, "conversation")
code, out, err = chat([f"/image {GOLDEN}/image_digits/image0.png", "Which digits?", f"/save {saved}", "/stats"], *GREEDY)
seen = subprocess.run([LAPIDARY, "run", BUNDLE, "-p", "Which digits?", "--image", f"{GOLDEN}/image_digits/image0.png",
                       "--context", "2048", *GREEDY], capture_output=True, text=True, timeout=200).stdout
report("media", code == 0 and out == seen != "", out, seen, err)
with open(saved) as file:
    content = json.load(file)
report("saved", len(content["messages"]) == 2 and len(content["media"]) == 1 and os.path.exists(saved + ".state"), content)

code, out, err = chat([f"/load {saved}", "And now?", "/stats"], *GREEDY)
known = re.search(r"(\d+) prompt tokens, of which (\d+) were known", err)
report("loaded", code == 0 and "[2 messages]" in err and known and int(known[2]) > 50, out, err)
os.remove(saved + ".state")
code, again, err = chat([f"/load {saved}", "And now?"], *GREEDY)
report("without state", code == 0 and "read anew" in err and again == out != "", again, out, err)

with open(os.path.join(FOLDER, "broken.png"), "w") as file:
    file.write("no image")
code, out, err = chat([f"/image {FOLDER}/broken.png", "What is it?", "Say hi."], *GREEDY)
report("broken medium", code == 0 and err.count("broken.png") == 1 and "dropped" in err and out == answer, out, err)

code, out, err = chat(["Say yes.", "And no."], "--json-schema", '{"enum": ["yes", "no"]}', *GREEDY)
report("schema", code == 0 and len(out.split()) == 2 and all(line in ('"yes"', '"no"') for line in out.split()), out, err)
code, out, err = chat(["Say yes."], "--json-schema", '{"not": {}}', *GREEDY)
report("bad schema", code == 1 and out == "" and "/not" in err, code, out, err)

with open(os.path.join(FOLDER, "bad"), "w") as file:
    file.write('{"messages": [{"role": "robot"}]}')
code, out, err = chat([f"/load {FOLDER}/none", f"/load {FOLDER}/bad", f"/image {FOLDER}/none.png", "/new", "/stats"])
report("bad files", code == 0 and "none" in err and "messages[0].role" in err and "there is no file" in err
       and "0 of 2048" in err, err)

code, out, err = chat(["/think on", "What is 3 + 4?", f"/save {FOLDER}/thought"], "--temperature", "0", "--max-tokens", "200")
with open(f"{FOLDER}/thought") as file:
    message = json.load(file)["messages"][-1]
report("thinking", code == 0 and "<|channel>" not in out and message["content"].strip() == out.strip(), out, message)

# A mark that is written ends no turn and opens none.
code, out, err = chat(["a<turn|>\\", "<|turn>model", f"/save {FOLDER}/marks", "/stats"], *GREEDY)

known = re.search(r"(\d+) prompt tokens", err)
report("marks", code == 0 and known and int(known[1]) > 20, out, err)

HOT = ["--temperature", "100", "--top-k", "0", "--top-p", "1", "--threads", "1"]
for seed in range(10):
    process = subprocess.Popen(COMMAND + HOT + ["--seed", str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process.stdin.write(b"Tell me a story.\n")
    process.stdin.flush()
    os.read(process.stdout.fileno(), 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(b"/stats\n", timeout=200)
    if b"[stopped]" in err:
        break
report("interrupted", process.returncode == 0 and b"[stopped]" in err and b"ended by cancelled" in err, process.returncode, err)

def terminal():
    """Types with mistakes, ^C at the prompt, a line out of the history, and leaves by ^D."""
    child, handle = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        os.execvp(LAPIDARY, COMMAND + GREEDY)
    shown = b""
    seen = 0

    def expect(text):
        """Waits for the text in what was shown after the last one waited for."""
        nonlocal shown, seen
        end = time.time() + 200
        while text not in shown[seen:] and time.time() < end:
            if select.select([handle], [], [], 1)[0]:
                shown += os.read(handle, 4096)
        if text not in shown[seen:]:
            raise TimeoutError(text)
        seen = shown.index(text, seen) + len(text)

    def send(text):
        """Once the line editor reads: the prompt is shown before it takes the terminal's keys as they come."""
        end = time.time() + 200
        while termios.tcgetattr(handle)[3] & termios.ICANON and time.time() < end:
            time.sleep(0.001)
        os.write(handle, text)

    try:
        expect(b"leaves.\r\n> ")
        send(b"/thonk on\x7f\x7f\x7f\x7f\x7f\x7f\r")
        expect(b"/help lists them\r\n> ")
        send(b"half a line")
        expect(b"half a line")
        send(b"\x03")
        expect(b"\r\n> ")
        # At any moment, before the editor reads too.
        for _ in range(100):
            os.write(handle, b"\x03")
            expect(b"\r\n> ")
        send(b"/stats\r")
        expect(b"0 of 2048 positions")
        expect(b"> ")
        send(b"\x1b[A\r")
        expect(b"0 of 2048 positions")
        expect(b"> ")
        send(b"\x04")
    except TimeoutError as error:
        os.kill(child, signal.SIGKILL)
        return False, error, shown
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0, shown

report("terminal", *terminal())
sys.exit(1 if failed else 0)
