"""Conversations and templates with what Python's jinja2 makes of them, configured as transformers has it.

usage: templates.py OUT.json [SEED]  (without SEED the fixed cases, which test/runtime/chat/templates.json holds)
"""

import json
import pathlib
import random
import sys

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

TESTS = pathlib.Path(__file__).resolve().parent.parent
BOS = "<bos>"
MARKS = ["<turn|>", "<|turn>", "<|image|>", '<|"|>', "<|channel>", "<channel|>", "<|tool_call>", "<", "<|", "|>", "<bos>"]
HELLO = [{"role": "user", "content": "Hi"}]


def environment():
    def refuse(message):
        raise TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = refuse
    return env


ENV = environment()


def case(template, messages=HELLO, options=None):
    options = options or {}
    variables = {"add_generation_prompt": True, "tools": None, "documents": None, "bos_token": BOS, **options}
    try:
        output = ENV.from_string(template).render(messages=messages, **variables)
    except Exception as error:  # Any: what Python refuses, we refuse.
        result = {"error": str(error)}
    else:
        result = {"output": output}
    # What most cases share stands in the file once.
    options = "data" if options is DATA else options
    return {"template": template, **({} if messages is HELLO else {"messages": messages}), "options": options, **result}


DATA = {
    "n": 7, "neg": -7, "f": 2.5, "big": 9007199254740993, "t": True, "no": False, "nil": None, "s": " Ab c\n",
    "empty": "", "l": [3, 1, "x", None, True, 1.0], "d": {"b": 1, "A": "two", "a": [1, {"k": "v"}], "items": 5},
    "words": "one two  three", "u": "äßÉ ﬁ Σ 日本", "m": "<|turn>x<turn|> a<|channel>b<channel|>c",
    "rows": [{"name": "p", "v": 1, "ok": True}, {"name": "q", "v": 2}, {"name": "r", "v": 3, "ok": False}],
    "quotes": ["it's", 'say "x"', "both ' and \"", "tab\t\\ \u00a0\u200b\x07"], "small": 1e-7, "large": 1e22, "z": [],
}

EXPRESSIONS = """
n + 1 * 2 - 3 ;; n - -2 ;; n * neg ;; n / 2 ;; n // 2 ;; neg // 2 ;; neg % 3 ;; n % neg ;; 2 ** 10 ;; 2 ** -1 ;; f + n ;; f * 2 ;; f // 1 ;; -f ;; +n ;; n ~ s ~ nil ;; big + 1
1 + 2 == 3 ;; 1 < 2 < 3 ;; 1 < 3 < 2 ;; n == 7.0 ;; t == 1 ;; 'a' < 'b' ;; s == ' Ab c\\n' ;; l == [3, 1, 'x', none, true, 1] ;; d == d ;; (1, 2) == [1, 2]
3 in l ;; 'x' not in l ;; 'b' in d ;; 'c' in s ;; '' in s ;; missing in l ;; nil in l ;; not n ;; n and s ;; empty or 'else' ;; nil or empty or 0
n if t else f ;; 'x' if no ;; (n if no) is defined ;; 'a' if no else 'b' if no else 'c' ;; l[0] ;; l[-1] ;; l[99] ;; l['x'] ;; s[1] ;; s[-2] ;; d['b'] ;; d.b ;; d.A ;; d['items'] ;; d.missing
l[1:3] ;; l[::-1] ;; l[:-1] ;; l[-2:] ;; s[1:3] ;; s[::-1] ;; s[::2] ;; l[5:1:-2] ;; (1, 2, 3)[1:] ;; [1] + [2] ;; 'ab' * 3 ;; 3 * 'x' ;; (1,) ;; () ;; [] ;; {} ;; {'a': 1, 'b': [none, true]}
quotes ;; d ;; l ;; f ;; 1.0 ;; 1e3 ;; 1.5e-5 ;; small ;; large ;; 0.1 + 0.2 ;; 100000.0 * 10000000000000 ;; t ;; nil ;; missing ;; [missing] ;; u ;; 'a' 'b' ;; "\\x41\\u00e9\\n\\'"
s.strip() ;; s.lstrip() ;; s.rstrip() ;; s.strip(' A') ;; 'xxaxx'.strip('x') ;; words.split() ;; words.split(' ') ;; words.split('o', 1) ;; words.split(none, 1) ;; u.upper() ;; u.lower()
m.split('<channel|>') ;; '<|channel>' in m ;; m.replace('<', '[') ;; m.replace('<|turn>', '') ;; m.startswith('<|turn>') ;; m.endswith('>c') ;; m.find('a') ;; m.find('zz') ;; m[0] ;; m[1:4] ;; m | length ;; m == '<|turn>x<turn|> a<|channel>b<channel|>c'
words.replace('o', '0') ;; words.replace('o', '0', 1) ;; words.startswith(('x', 'one')) ;; words.endswith('ee') ;; '-'.join(['a', 'b']) ;; 'abc'.replace('', '.')
d.get('b') ;; d.get('zz') ;; d.get('zz', 5) ;; d.keys() | list ;; d.values() | list ;; d.items() | list ;; d | items | list
d | dictsort ;; d | dictsort(true) ;; d | dictsort(reverse=true) ;; {'B': 1, 'b': 2, 'a': 3} | dictsort ;; s | trim ;; s | upper ;; s | lower ;; n | string ;; missing | upper ;; l | length ;; missing | length ;; words | count
l | first ;; l | last ;; z | first ;; words | first ;; words | list ;; d | list ;; z | default('d') ;; missing | default('d') ;; missing | d ;; empty | default('d', true) ;; nil | default('x') ;; nil | default('x', true)
l | join ;; l | join(', ') ;; words | join('-') ;; [1, [2]] | join('|') ;; '5' | int ;; 'x' | int ;; 'x' | int(3) ;; '2.7' | int ;; 2.7 | int ;; '2.5' | float ;; 'x' | float ;; t | int ;; neg | abs ;; f | int
d | tojson ;; l | tojson ;; quotes | tojson ;; u | tojson ;; rows | tojson(indent=2) ;; z | tojson(indent=2) ;; {} | tojson ;; small | tojson ;; s | tojson
words | replace('o', '0') ;; words | replace('o', '0', 1) ;; 'xax' | trim('x') ;; l | reverse | list ;; words | reverse ;; rows | map(attribute='name') | list ;; rows | map(attribute='ok', default='?') | list ;; ['a', 'b'] | map('upper') | join
rows | selectattr('ok') | map(attribute='name') | list ;; rows | rejectattr('ok') | list | length ;; rows | selectattr('v', 'gt', 1) | list | length ;; [1, 2, 3] | select('odd') | list ;; [1, 0] | reject | list ;; rows | selectattr('ok', 'defined') | list | length
n is number ;; t is number ;; t is integer ;; n is integer ;; f is float ;; s is string ;; d is mapping ;; l is sequence ;; s is sequence ;; d is sequence ;; missing is sequence ;; missing is iterable ;; missing is mapping ;; nil is none ;; t is boolean ;; t is true ;; no is false ;; n is true
n is odd ;; n is even ;; n is divisibleby 7 ;; n is divisibleby(2) ;; n is eq 7 ;; n is ne(7) ;; n is in l ;; 3 is in(l) ;; n is gt 3 and n is lt 9 ;; missing is defined ;; missing is not defined ;; n is defined ;; n is undefined ;; not n is none ;; n is not none
d.items is callable ;; d.items is defined ;; d.items is mapping ;; range is callable ;; range(3) | list ;; range(1, 4) | list ;; range(5, 0, -2) | list ;; range(0) | list ;; range(2) | length ;; dict(a=1, b='x') ;; nil.x ;; nil['x'] ;; n.x ;; l.x ;; s.x
1 if 1 else 2 ;; (1 if 0 else 2) + 1 ;; [1, 2,] ;; {'a': 1,} ;; n ;; n if missing is defined else s | trim ;; u | length ;; u[1:3] ;; u[::-1]
"""

BLOCKS = [
    "{% for i in range(3) %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
    "{% for x in l if x is number %}{{ loop.index }}/{{ loop.length }}={{ x }} {% else %}none{% endfor %}",
    "{% for x in z %}{{ x }}{% else %}nothing{% endfor %}|{% for x in missing %}x{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }}\n{% endfor %}|{% for (a, b) in [(1, 2)] %}{{ a + b }}{% endfor %}",
    "{% for x in l %}{% if x == 'x' %}{% break %}{% endif %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1, y='a') %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ ns.z }}",
    "{% set a, b = 1, 'two' %}{{ b }}{{ a }}{% set c %} body {{ a }} {% endset %}[{{ c }}]",
    "{% macro m(a, b=2, c=a) %}{{ a }}-{{ b }}-{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c=5) }}{{ m(b=1, a=0) }}{{ m() }}",
    "{% macro even(n) %}{% if n == 0 %}yes{% else %}{{ odd(n - 1) }}{% endif %}{% endmacro %}{% macro odd(n) %}{% if n == 0 %}no{% else %}{{ even(n - 1) }}{% endif %}{% endmacro %}{{ even(7) }}{{ odd(7) }}",
    "{% set g = 'global' %}{% macro m() %}{{ g }}{% set g = 'own' %}{{ g }}{% endmacro %}{{ m() }}{{ g }}",
    "{% macro m() %}{{ g }}{% endmacro %}{% set g = 'later' %}{{ m() }}{% for g in ['loop'] %}{{ m() }}{% endfor %}",
    "{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}{% if empty %}x{% elif f %}y{% endif %}{% if missing %}z{% endif %}",
    "{% if n %}{% set inner = 1 %}{% endif %}{{ inner }}",
    "a\n{% if t %}\n  b\n  {% endif %}\n c {%- if t %} d {% endif -%} \n e",
    "  {% if t %}x{% endif %}\n\t{# comment #}\n  {{ n }}\n  {#- c -#}  y\n",
    "  {%+ if t %}x{%+ endif %}\n  {% if t +%}\n  y{% endif %}",
    "{%- set x = 1 -%}\n\n{{- x -}}\n\n{{ x }}\n",
    "{% raw %}{{ not }} {% a %}{% endraw %}|{%- raw -%}  x  {%- endraw -%} y",
    "line\r\nnext\rlast\r\n",
    "{{ '{{' }}{{ '%}' }}{{ {'a': {'b': 1}}}}{{ {'a': {'b': 1}}.a.b }}",
    "{% for a in [1, 2] %}{% for b in [1, 2] %}{{ loop.index }}{{ loop.first }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for x in [1, 2] %}{% set y = loop.index %}{{ y }}{% endfor %}{{ y }}",
    "{{ raise_exception('no ' ~ n) }}", "{{ missing.x }}", "{{ missing['x'] }}", "{{ missing + 1 }}", "{{ n + s }}", "{{ 1 / 0 }}",
    "{{ n < s }}", "{% for x in n %}{% endfor %}", "{{ n() }}", "{% set a, b = [1] %}", "{{ [1] | dictsort }}", "{{ range(1000000) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(b=1) }}", "{{ n | length }}", "{{ 'a' in n }}",
    "{{ ','.join([1]) }}", "{{ n | first }}",
]


def random_text(chance):
    pieces = ["word", " ", "\n", "\t", "a", "Ünï", "日本", "é", "😀", "\u00a0", "\u2003", "'", '"', "{", "}", "{{ x }}", "{% if %}", "\\", "0"] + MARKS
    return "".join(chance.choice(pieces) for _ in range(chance.randrange(8)))


def random_value(chance, depth=0):
    kind = chance.randrange(9 if depth < 3 else 7)
    if kind == 7:
        return [random_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 8:
        return {random_text(chance) or "k": random_value(chance, depth + 1) for _ in range(chance.randrange(4))}
    return [random_text(chance), chance.randrange(-1000, 1000), chance.uniform(-10, 10), chance.random() * 1e-6, True, None, "plain"][kind]


def random_schema(chance, depth=0):
    kind = chance.choice(["string", "number", "boolean", "object", "array", "integer"])
    schema = {"type": kind}
    if chance.random() < 0.7:
        schema["description"] = random_text(chance)
    if kind == "object" and depth < 3:
        schema["properties"] = {chance.choice("abcABC") + str(i): random_schema(chance, depth + 1) for i in range(chance.randrange(3))}
        if chance.random() < 0.5:
            schema["required"] = list(schema["properties"])
    if kind == "array":
        schema["items"] = random_schema(chance, 3)
    if kind == "string" and chance.random() < 0.4:
        schema["enum"] = [random_text(chance) for _ in range(2)]
    return schema


def random_content(chance):
    if chance.random() < 0.6:
        return random_text(chance)
    return [
        {"type": "text", "text": random_text(chance)} if chance.random() < 0.6 else {"type": chance.choice(["image", "audio", "video"])}
        for _ in range(chance.randrange(1, 4))
    ]


def random_conversation(chance):
    messages = []
    if chance.random() < 0.4:
        messages.append({"role": chance.choice(["system", "developer"]), "content": random_text(chance)})
    identity = 0
    for _ in range(chance.randrange(1, 5)):
        messages.append({"role": "user", "content": random_content(chance)})
        answer = {"role": "assistant", "content": chance.choice([random_text(chance), None, ""])}
        if chance.random() < 0.3:
            answer["reasoning_content"] = random_text(chance)
        if chance.random() < 0.5:
            calls = []
            for _ in range(chance.randrange(1, 3)):
                identity += 1
                calls.append({
                    "id": f"call{identity}", "type": "function",
                    "function": {"name": chance.choice(["look", "f", "get_x"]),
                                 "arguments": {chance.choice("abAB") + str(i): random_value(chance) for i in range(chance.randrange(3))}},
                })
            answer["tool_calls"] = calls
            messages.append(answer)
            for call in calls:
                message = {"role": "tool", "tool_call_id": call["id"], "content": random_text(chance)}
                if chance.random() < 0.3:
                    message["name"] = "named"
                messages.append(message)
            if chance.random() < 0.5:
                continue
            answer = {"role": "assistant", "content": random_text(chance)}
        messages.append(answer)
    if chance.random() < 0.7:
        messages.append({"role": "user", "content": random_content(chance)})
    options = {}
    if chance.random() < 0.4:
        options["enable_thinking"] = chance.random() < 0.5
    if chance.random() < 0.3:
        options["add_generation_prompt"] = chance.random() < 0.5
    if chance.random() < 0.5:
        options["tools"] = [
            {"type": "function", "function": {"name": f"t{i}", "description": random_text(chance), "parameters": {
                "type": "object", "properties": {chance.choice("xyXY") + str(j): random_schema(chance) for j in range(chance.randrange(4))},
                "required": ["x0"]}}}
            for i in range(chance.randrange(3))
        ]
    return messages, options


def conversations(seed, count):
    chance = random.Random(seed)
    names = ("models/tiny/chat_template.jinja", "runtime/chat/tools.jinja")
    cases = []
    for i in range(count):
        cases.append(case((TESTS / names[i % 2]).read_text(), *random_conversation(chance)))
        del cases[-1]["template"]
        cases[-1]["file"] = names[i % 2]
    return cases


def main():
    if len(sys.argv) > 2:
        cases = conversations(int(sys.argv[2]), 400)
    else:
        expressions = [part for line in EXPRESSIONS.strip().split("\n") for part in line.split(" ;; ")]
        cases = [case("{{ " + expression + " }}", options=DATA) for expression in expressions]
        cases += [case(block, options=DATA) for block in BLOCKS]
        cases += conversations(1, 60)
    with open(sys.argv[1], "w") as file:
        file.write('{"data": ' + json.dumps(DATA, ensure_ascii=False) + ',\n"cases": [\n')
        file.write(",\n".join(json.dumps(each, ensure_ascii=False) for each in cases) + "]}\n")


main()
