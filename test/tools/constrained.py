"""Answers under schemas, grammars and tool choices, at a temperature at which the model alone writes nothing of the kind.

    constrained.py BUNDLE WORK
"""

import json
import pathlib
import re
import subprocess
import sys

bundle, work = sys.argv[1], pathlib.Path(sys.argv[2])
work.mkdir(parents=True, exist_ok=True)


def isWhole(value, least=None, most=None):
    return type(value) is int and (least is None or value >= least) and (most is None or value <= most)


def isPerson(value):
    return (
        list(value) == [name for name in ("name", "age", "tags", "born", "friend") if name in value]
        and isinstance(value["name"], str)
        and len(value["name"]) <= 12
        and isWhole(value["age"], 0, 130)
        and all(tag in ("new", "old") for tag in value.get("tags", []))
        and len(value.get("tags", [])) <= 3
        and re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9]", value.get("born", "2000-01-01"))
        and ("friend" not in value or value["friend"] is None or isPerson(value["friend"]))
    )


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "tags": {"type": "array", "items": {"enum": ["new", "old"]}, "maxItems": 3},
        "born": {"type": "string", "format": "date"},
        "friend": {"anyOf": [{"type": "null"}, {"$ref": "#"}]},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMAS = [
    (PERSON, isPerson),
    (
        {"type": "array", "prefixItems": [{"const": "sum"}], "items": {"type": "integer", "minimum": -5, "maximum": 99},
         "minItems": 2, "maxItems": 6},
        lambda value: value[0] == "sum" and 2 <= len(value) <= 6 and all(isWhole(x, -5, 99) for x in value[1:]),
    ),
    ({"type": "string", "pattern": "^[A-Z]{2}-\\d{3}$"}, lambda value: re.fullmatch("[A-Z]{2}-[0-9]{3}", value)),
    ({"anyOf": [{"type": "boolean"}, {"type": "number", "minimum": 0.5, "exclusiveMaximum": 20}]},
     lambda value: isinstance(value, bool) or 0.5 <= value < 20),
]

# Many answers at once, under a schema each.
requests, checks = work / "requests.jsonl", {}
with open(requests, "w", encoding="utf-8") as file:
    for index, (schema, check) in enumerate(SCHEMAS):
        for seed in range(15):
            name = f"{index}-{seed}"
            checks[name] = check
            file.write(json.dumps({
                "id": name, "prompt": "What is 3 + 5?", "temperature": 2, "top_k": 0, "top_p": 1, "seed": seed,
                "max_tokens": 1500,
                "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}},
            }) + "\n")
answers = work / "answers.jsonl"
answers.unlink(missing_ok=True)
subprocess.run(["lapidary", "batch", bundle, requests, answers, "--parallel", "8", "--context", "2048"], check=True)
texts = set()
for line in answers.read_text(encoding="utf-8").splitlines():
    answer = json.loads(line)
    assert answer.get("finish_reason") == "stop", line
    assert checks[answer["id"]](json.loads(answer["text"])), line
    texts.add(answer["text"])
assert len(texts) > 40, f"only {len(texts)} different answers"


def run(*arguments):
    done = subprocess.run(["lapidary", "run", bundle, "--json", "--special", *map(str, arguments)],
                          capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return answer["text"], answer["ids"]


# Calls of tools that the prompt speaks of, and of others.
MARK = re.escape('<|"|>')
CALL = (r"<\|tool_call>call:(set_light\{(on:(true|false)|level:(\d|10)|on:(true|false),level:(\d|10)|"
        r"level:(\d|10),on:(true|false))\}|get_weather\{city:" + MARK + "(Rome|Lima)" + MARK + r"\})<tool_call\|>")
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "Current weather in a city.", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", "Lima"]}}, "required": ["city"]}}},
    {"type": "function", "function": {"name": "set_light", "description": "Switch the light.", "parameters": {
        "type": "object", "properties": {"on": {"type": "boolean"}, "level": {"type": "integer", "minimum": 0, "maximum": 10}},
        "minProperties": 0}}},
]
CALL_TOKEN = 48  # The text may spell the mark, which is no call.
conversation = work / "conversation.json"
CALL = CALL.replace(r"set_light\{(", r"set_light\{(|")
for choice, pattern in (
    ("required", f"({CALL})+(<turn\\|>|<eos>|<\\|tool_response>)"),
    ({"type": "function", "function": {"name": "set_light"}}, rf"(?!.*get_weather){CALL}(<turn\|>|<eos>|<\|tool_response>)"),
    ("none", ".*"),
):
    conversation.write_text(json.dumps({
        "messages": [{"role": "user", "content": "What is the weather in Rome?"}], "tools": TOOLS, "tool_choice": choice}))
    for seed in range(4):
        text, ids = run("--messages", conversation, "--temperature", 2, "--top-p", 1, "--seed", seed, "--max-tokens", 120)
        if choice == "required" and not text.endswith(("<turn|>", "<eos>", "<|tool_response>")):
            text = re.sub(r"(<tool_call\|>)(?!.*<tool_call\|>).*", r"\1<turn|>", text)  # it went on calling
        assert re.fullmatch(pattern, text, re.DOTALL), (choice, text)
        assert (CALL_TOKEN in ids) == (choice != "none"), (choice, text)

# A grammar, and thinking before a schema where it is asked for.
grammar = work / "answer.gbnf"
grammar.write_text('root ::= word (" " word){2} "."\nword ::= [a-z]{2,4} | "\\u00e9t\\u00e9"\n')
for seed in range(4):
    text, _ = run("-p", "What is 3 + 5?", "--grammar", grammar, "--temperature", 2, "--top-p", 1, "--seed", seed)
    assert re.fullmatch(r"(([a-z]{2,4}|été) ?){3}\.(<turn\|>|<eos>)", text), text
conversation.write_text(json.dumps({
    "messages": [{"role": "user", "content": "What is 3 + 5?"}], "options": {"enable_thinking": True},
    "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "integer"}}}}))
text, _ = run("--messages", conversation, "--temperature", 0)
assert re.fullmatch(r"<\|channel>thought\n.*<channel\|>-?\d+<turn\|>", text, re.DOTALL), text
# A prompt that ends in a thought is gone on with: thought first, of any kind, then what was asked for.
prompt = "<bos><|turn>user\nWhat is 3 + 5?<turn|>\n<|turn>model\n<|channel>thought\n"
for seed in range(4):
    text, ids = run("--raw", "-p", prompt, "--grammar", grammar, "--temperature", 2, "--top-p", 1, "--seed", seed,
                    "--max-tokens", 2000)
    if "<channel|>" in text:
        assert re.fullmatch(r".*<channel\|>(([a-z]{2,4}|été) ?){3}\.(<turn\|>|<eos>)", text, re.DOTALL), text
text, _ = run("--raw", "-p", prompt, "--json-schema", '{"type": "integer"}', "--temperature", 0)
assert re.fullmatch(r"(?!-?\d+<)[^|]+<channel\|>-?\d+<turn\|>", text), text
print("answers under constraints: all as asked for")
