"""What a hostile template must not do: reach Python, files, other templates, or take for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

import pytest

from cactus.chat.messages import parse_messages
from cactus.chat.template import ChatTemplate
from cactus.errors import TemplateError

MESSAGES = parse_messages([{"role": "user", "content": "hello"}])

ESCAPES = {
    "mro": "{{ ().__class__.__mro__ }}",
    "subclasses": "{{ ''.__class__.__base__.__subclasses__() }}",
    "globals of cycler": "{{ cycler.__init__.__globals__ }}",
    "globals of joiner": "{{ joiner.__init__.__globals__.os }}",
    "lipsum": "{{ lipsum.__globals__ }}",
    "attr filter": "{{ '' | attr('__class__') }}",
    "attr of a map": "{{ messages | map(attribute='__class__') | list }}",
    "map to attr": "{{ messages | map('attr', '__class__') | list }}",
    "item": "{{ ''['__class__'] }}",
    "str.format": "{{ '{0.__class__}'.format(messages) }}",
    "str.format of an item": "{{ '{0[__class__]}'.format('x') }}",
    "str.format_map": "{{ '{x.__class__}'.format_map({'x': messages}) }}",
    "format taken as a value": "{% set f = '{0.__class__}'.format %}{{ f('x') }}",
    "format mapped": "{{ ['{0.__class__}'.format] | map('string') | list }}"
    "{{ ('{0.__class__}'.format)('') }}",
    "namespace": "{% set n = namespace(__class__=1) %}",
    "namespace attribute": "{% set n = namespace() %}{% set n.__init__ = 1 %}",
    "namespace internals": "{{ namespace().__init__.__globals__ }}",
    "macro": "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}",
    "macro function": "{% macro m() %}{% endmacro %}{{ m._func }}",
    "raise_exception": "{{ raise_exception.__globals__ }}",
    "strftime_now": "{{ strftime_now.__globals__ }}",
    "range": "{{ range.__globals__ }}",
    "dict": "{{ dict.__globals__ }}",
    "self": "{{ self._TemplateReference__context }}",
    "loop": "{% for m in messages %}{{ loop._iterator }}{% endfor %}",
    "generator": "{{ (messages | map('upper')).gi_frame.f_globals }}",
    "method": "{{ messages.append.__self__.__class__ }}",
    "encode": "{{ 'x'.encode('utf-8') }}",
    "append": "{{ messages.append(1) }}",
    "pop": "{{ messages[0].pop('content') }}",
    "unbound": "{{ dict.update(messages[0], x=1) }}",
    "undefined": "{{ missing.__class__ }}",
    "call a string": "{{ 'os'('x') }}",
}

OTHER_TEMPLATES = [
    "\n{% include 'x' %}",
    "\n{% import 'x' as y %}",
    "\n{% from 'x' import y %}",
    "\n{% extends 'x' %}",
    "\n{% if false %}{% include ['a', 'b'] ignore missing %}{% endif %}",
]

BOMBS = {
    "range": "{% for i in range(10**12) %}x{% endfor %}",
    "repeat": "{{ 'a' * 10**12 }}",
    "repeat reversed": "{{ 10**12 * 'a' }}",
    "repeat list": "{{ [0] * 10**12 }}",
    "nested loops": "{% for i in range(9999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "nested output": "{% for i in range(99999) %}{% for j in range(999) %}abcdefghij{% endfor %}"
    "{% endfor %}",
    "recursion": "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "two macros": "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}"
    "{{ a() }}",
    "recursive loop": "{% for i in [[1]] recursive %}{{ loop([i]) }}{% endfor %}",
    "tree of macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}"
    "{% endmacro %}{{ m(60) }}",
    "doubling +": "{% set n = namespace(x='ab') %}{% for i in range(60) %}"
    "{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "doubling ~": "{% set n = namespace(x='ab') %}{% for i in range(60) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling list": "{% set n = namespace(x=[1, 2]) %}{% for i in range(60) %}"
    "{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling block": "{% set n = namespace(x='ab') %}{% for i in range(60) %}"
    "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}{% endfor %}",
    "doubling join": "{% set n = namespace(x='ab') %}{% for i in range(60) %}"
    "{% set n.x = [n.x, n.x] | join %}{% endfor %}",
    "doubling str.join": "{% set n = namespace(x='ab') %}{% for i in range(60) %}"
    "{% set n.x = ''.join([n.x, n.x]) %}{% endfor %}",
    "doubling replace": "{% set n = namespace(x='aa') %}{% for i in range(60) %}"
    "{% set n.x = n.x.replace('a', 'aa') %}{% endfor %}",
    "doubling replace filter": "{% set n = namespace(x='aa') %}{% for i in range(60) %}"
    "{% set n.x = n.x | replace('a', 'aa') %}{% endfor %}",
    "doubling format": "{% set n = namespace(x='aa') %}{% for i in range(60) %}"
    "{% set n.x = '{0}{0}'.format(n.x) %}{% endfor %}",
    "doubling percent": "{% set n = namespace(x='aa') %}{% for i in range(60) %}"
    "{% set n.x = '%s%s' % (n.x, n.x) %}{% endfor %}",
    "list of lists printed": "{% set n = namespace(x=['ab']) %}{% for i in range(60) %}"
    "{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "list of lists as JSON": "{% set n = namespace(x=['ab']) %}{% for i in range(60) %}"
    "{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}",
    "list of lists as string": "{% set n = namespace(x=['ab']) %}{% for i in range(60) %}"
    "{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | string | length }}",
    "lists of lists compared": "{% set n = namespace(x=['ab'], y=['ab']) %}{% for i in range(60) %}"
    "{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}",
    "lists of lists in": "{% set n = namespace(x=['ab'], y=['ab']) %}{% for i in range(60) %}"
    "{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x in [n.y] }}",
    "hoarding": "{% set n = namespace(x=[]) %}{% set big = 'ab' * 4000000 %}"
    "{% for i in range(9999) %}{% set n.x = n.x + [big[1:]] %}{% endfor %}",
    "hoarding upper": "{% set n = namespace(x=[]) %}{% set big = 'ab' * 4000000 %}"
    "{% for i in range(9999) %}{% set n.x = n.x + [big | upper] %}{% endfor %}",
    "hoarding strip": "{% set n = namespace(x=[]) %}{% set big = ' ' + 'ab' * 4000000 %}"
    "{% for i in range(9999) %}{% set n.x = n.x + [big.strip()] %}{% endfor %}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "big numbers": "{% set n = namespace(x=3) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}"
    "{% endfor %}",
    "percent width": "{{ '%1000000000d' % 1 }}",
    "percent star": "{{ '%*d' % (1000000000, 1) }}",
    "format width": "{{ '{:1000000000}'.format(1) }}",
    "format nested width": "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "ljust": "{{ 'a'.ljust(10**10) }}",
    "center": "{{ 'a'.center(10**10) }}",
    "center filter": "{{ 'a' | center(10**10) }}",
    "zfill": "{{ '1'.zfill(10**10) }}",
    "expandtabs": "{{ '\t'.expandtabs(10**10) }}",
    "indent": "{{ 'a\nb' | indent(10**10) }}",
    "indent JSON": "{{ messages | tojson(indent=10**10) }}",
    "batch": "{{ [1] | batch(10**10, 'x') | list }}",
    "slice": "{{ [1] | slice(10**10) | list }}",
    "round": "{{ 12345 | round(-10**9) }}",
    "sum of lists": "{{ [[1], [2]] | sum(start=[]) }}",
    "date": "{{ strftime_now('%999999999Y') }}",
    "wordwrap": "{{ 'a b' | wordwrap(1) }}",
    "long source": "{# " + "x" * (1 << 20) + " #}",
    "deep source": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "deep lists": "{{ " + "[" * 20000 + "]" * 20000 + " }}",
    "deep ifs": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
}


@pytest.mark.fault("F22")
@pytest.mark.parametrize("source", ESCAPES.values(), ids=ESCAPES.keys())
def test_a_template_cannot_reach_python(source: str) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(MESSAGES)
    assert MESSAGES[0].to_template() == {"role": "user", "content": "hello"}


@pytest.mark.fault("F23")
@pytest.mark.parametrize("source", OTHER_TEMPLATES)
def test_a_template_stands_alone(source: str) -> None:
    with pytest.raises(TemplateError, match=r"line 2: \w+ is not allowed"):
        ChatTemplate(source)


@pytest.mark.fault("F23")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("source", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_stopped(source: str, peak_memory_mb: Callable[[], float]) -> None:
    before = peak_memory_mb()
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(MESSAGES)
    assert peak_memory_mb() - before < 600


@pytest.mark.fault("F23")
def test_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own thread: what others do meanwhile, or a stop of the process, is no fault of it."""
    others, own = count(0, 3), count(0, 3)
    monkeypatch.setattr("cactus.chat.budget.time.monotonic", lambda: float(next(others)))
    source = "{% for i in range(100) %}{{ i }}{% endfor %}"
    assert ChatTemplate(source).render(MESSAGES).text.startswith("012")
    monkeypatch.setattr("cactus.chat.budget.time.thread_time", lambda: float(next(own)))
    with pytest.raises(TemplateError, match=r"stopped in line 1: it runs for more than 10"):
        ChatTemplate(source).render(MESSAGES)


@pytest.mark.fault("F23")
def test_a_stopped_template_can_be_used_again() -> None:
    template = ChatTemplate("{% if messages[0].content == 'bomb' %}{{ 'a' * 10**12 }}{% endif %}ok")
    bomb = parse_messages([{"role": "user", "content": "bomb"}])
    for _ in range(3):
        with pytest.raises(TemplateError, match="more than"):
            template.render(bomb)
        assert template.render(MESSAGES).text == "ok"


def test_what_templates_really_use_still_works() -> None:
    source = """
{%- set ns = namespace(found=false, text='') -%}
{%- for m in messages[::-1] if m.role == 'user' -%}
{%- if loop.first -%}{%- set ns.found = true -%}{%- continue -%}{%- endif -%}
{%- endfor -%}
{%- macro item(x, y='-') -%}{{ y ~ ' ' ~ x | trim }}{%- endmacro -%}
{{- item(' a ') }}|{{ ['x', 'y'] | join(', ') }}|{{ {'b': 1, 'a': [1, 2]} | tojson }}
{{- '|' }}{{ 'a-b'.split('-')[-1].upper() }}|{{ 3 * '=' }}|{{ '%03d' % 7 }}|{{ '{:>3}'.format(7) }}
{{- '|' }}{{ [3, 1, 2] | sort | map('string') | join }}|{{ 'a\nb' | indent(2) }}
{{- '|' }}{{ {'a': 1} | items | list }}|{{ [1, 2] | sum }}|{{ 1.256 | round(2) }}
{{- '|' }}{{ ns.found }}|{{ 'x' in 'xyz' }}|{{ 2 ** 10 }}|{{ dict(a=1).get('a') }}
{%- set block %} inner {% endset %}{{ '|' + block | trim }}
{%- for x in range(5) %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}
{%- generation %}made{% endgeneration %}"""
    expected = (
        '- a|x, y|{"b": 1, "a": [1, 2]}|B|===|007|  7|123|a\n  b|[(\'a\', 1)]|3|1.26'
        "|True|True|1024|1|inner012made"
    )
    assert ChatTemplate(source).render(MESSAGES).text == expected


def test_autoescape_escapes() -> None:
    source = "{% autoescape true %}{{ '<' ~ '&' }}{{ messages[0].content }}{% endautoescape %}"
    rendered = ChatTemplate(source).render(parse_messages([{"role": "user", "content": "<b>"}]))
    assert rendered.text == "&lt;&amp;&lt;b&gt;"


def test_dates() -> None:
    text = ChatTemplate("{{ strftime_now('%d %b %Y') }}").render(MESSAGES).text
    time.strptime(text, "%d %b %Y")
