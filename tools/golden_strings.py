"""The texts behind the starter model's golden files: prompts, chats, and 200 odd strings."""

from __future__ import annotations

import random

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village at the foot of a mountain, there lived a baker who",
    "def fibonacci(n):\n    ",
    "1, 1, 2, 3, 5, 8,",
    "To make a good vegetable soup, you first need to",
    "Water boils at",
    "SELECT name, age FROM people WHERE",
    "Dear Sir or Madam,\n\nI am writing to",
    "La tour Eiffel est",
    "My favourite season is autumn, because",
]

CHATS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "user", "content": "Write a haiku about the sea."}],
    [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": "Why is the sky blue?"},
    ],
    [{"role": "user", "content": "List three fruits that are yellow."}],
    [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Nice to meet you, Ada!"},
        {"role": "user", "content": "What is my name?"},
    ],
    [{"role": "user", "content": "Explain what a hash table is to a child."}],
    [{"role": "user", "content": "Write a Python function that reverses a string."}],
    [{"role": "user", "content": "Translate to Spanish: good morning, my friend."}],
    [{"role": "user", "content": "How many legs do two spiders have together?"}],
    [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "Give me advice\non saving money.\n\nKeep it short."},
    ],
    [{"role": "user", "content": ""}],
    [{"role": "user", "content": "  spaces  and\ttabs\n\nand lines \U0001f30a  "}],
]

_LANGUAGES = """\
Good evening, we'd like a table for two; I'll wait, she's late, they've gone.
Ça va ? L'été dernier, nous étions à l'hôtel où j'ai oublié mon œuvre.
Größe, Straße, Äpfel und Öl: „Übung macht den Meister“, sagte Jürgen.
¿Dónde está el baño? ¡Mañana por la mañana comeré ñoquis!
L'università è lì, perché così è più facile.
O coração não envelhece; amanhã haverá pão, limões e maçãs.
Zażółć gęślą jaźń, powiedział chrząszcz w Szczebrzeszynie.
Příliš žluťoučký kůň úpěl ďábelské ódy.
Árvíztűrő tükörfúrógép, mondta a győri őr.
Åtta älgar åt ängens örter på ön.
Hyvää päivää! Yöllä jää sulaa järvellä.
Þetta er íslenska: ég á hund og kött.
Pijamalı hasta yağız şoföre çabucak güvendi; Iğdır'da ılık.
Съешь же ещё этих мягких французских булок, да выпей чаю.
Їжак і ґава з'їли п'ять яблук.
Ο καιρός είναι ωραίος σήμερα· πάμε στη θάλασσα;
שלום לכולם, מה שלומכם היום?
مرحبا بالعالم، كيف حالك اليوم؟
سلام دنیا، حال شما چطور است؟
नमस्ते दुनिया, आप कैसे हैं?
বাংলা ভাষায় একটি বাক্য।
தமிழ் ஒரு பழமையான மொழி.
ภาษาไทยไม่มีช่องว่างระหว่างคำ
Tiếng Việt có nhiều dấu thanh: ngã, hỏi, nặng.
今天天气很好，我们去公园散步吧。
臺灣的夜市有很多好吃的東西！
東京は日本の首都です。カタカナとひらがな、漢字。
안녕하세요, 세계! 오늘은 날씨가 좋네요.
გამარჯობა მსოფლიო
Բարեւ աշխարհ
ሰላም ለዓለም
ສະບາຍດີ ໂລກ
Selamat pagi, apa kabar? Baik-baik saja.
Habari za asubuhi, rafiki yangu?
Ẹ káàárọ̀, ṣé dáadáa ni?
Cymru am byth; dw i'n hoffi coffi."""

_CODE = [
    "for i in range(10):\n    print(i ** 2)\n",
    "int main(void)\n{\n\treturn 0;\n}\n",
    "const f = async (x) => { await g(x?.y ?? 0); };",
    "fn add<T: Add<Output = T>>(a: T, b: T) -> T { a + b }",
    "SELECT * FROM t WHERE a >= 3 AND b LIKE '%x_%' ORDER BY 1 DESC;",
    "#include <vector>\ntemplate <typename T> using V = std::vector<T>;",
    'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println(`hi`) }',
    "public static void main(String[] args) { int[] a = {1, 2, 3}; }",
    'if [ -f "$HOME/.rc" ]; then . "$HOME/.rc"; fi  # load',
    "x = {'a': [1, 2.5e-3, None], \"b\": True}",
    "class Foo(Bar):\n\n    def __init__(self, *args, **kwargs):\n        super().__init__()\n",
    "lambda x: x if x else -x",
    "(defn square [x] (* x x))",
    "main :: IO ()\nmain = mapM_ print [x | x <- [1..10], even x]",
    "a[i++] = *p->q & ~0xFFu << 3 ^ b%2;",
    "/* comment */ // another\n--sql\n# shell\n; lisp\n",
    "diff --git a/x b/x\n@@ -1,3 +1,3 @@\n-old\n+new\n",
    '$ git commit -m "fix: don\'t panic" && git push --force-with-lease',
    "camelCaseName snake_case_name SCREAMING_CASE kebab-case-name PascalCase x1y2z3",
    "http_status==404||retry!=false&&!done",
]

_MARKUP = [
    '<html><body class="a b"><p>Hello &amp; goodbye&nbsp;!</p></body></html>',
    "<|not_a_token|> <||> |<>| <im_start>",
    "# Title\n\n* item **bold** _it_\n  - nested\n\n> quote\n\n```py\nx\n```\n",
    "[link](https://example.org/a?b=c&d=%20#frag) ![img](data:image/png;base64,iVBORw0=)",
    "\\begin{equation} E = mc^2 \\label{eq:1} \\end{equation} $\\alpha_{i}^{2}$",
    '{"role": "user", "content": [{"type": "text", "text": "a\\nb"}]}',
    "key: value\nlist:\n  - a\n  - b: {c: d}\n",
    '[section]\nname = "x"  # comment\n',
    'a,b,c\n1,"two, 2",3\n',
    '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>',
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "</s><s>[INST] <<SYS>> [/INST] <pad> <unk> <bos>",
    "user@example.com, http://127.0.0.1:8080/~me/?q=1, C:\\Users\\me\\file.txt, ../a/b",
]

_SPACES = [
    "",
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\n\n\n\n",
    "\t",
    "\t\t\tx",
    " \n \n x",
    "a  b   c    d     e",
    "trailing   ",
    "   leading",
    "\r\n windows \r\n lines\r\n",
    "tab\tthen\t\ttwo",
    " " * 17 + "seventeen",
    "x" + "\n" * 9 + "y",
    "mixed \t \n\t  end\n ",
    "no\u00a0break\u2003em\u3000wide\u200bzero",
    "line\u2028para\u2029next\u0085nel\x0bvt\x0cff",
]

_DIGITS = [
    "0",
    "7",
    "42",
    "007",
    "2024",
    "1234567890",
    "3.14159265358979",
    "1,000,000.50",
    "-273.15",
    "1e-10 6.02E+23 0x1F 0b1010 0o17",
    "2021-12-31T23:59:59Z",
    "+49 (0)30 123456-78",
    "12:30pm 50% $9.99 €1.234,56 £7 ¥800",
    "1st 2nd 3rd 4th v1.2.3-rc4",
    "999999999999999999999999999999",
    "١٢٣ ४५६ ７８９",
    "192.168.0.1/24 :: fe80::1",
    "3x3x3=27;2^10=1024",
]

_EMOJI = [
    "\U0001f600",
    "\U0001f44d\U0001f3fd thumbs",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family",
    "\U0001f1eb\U0001f1f7\U0001f1ef\U0001f1f5 flags",
    "\u2764\ufe0f\u2764 hearts \u2665\ufe0e",
    "1\ufe0f\u20e3 keycap #\ufe0f\u20e3",
    "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "text\U0001f680text\U0001f680\U0001f680 \U0001f680",
    "\u263a\u2603\u2600 \u2190\u2191\u2192\u2193 \u2713\u2717 \u2605\u2606",
    "\U0001f937\U0001f3ff\u200d\u2640\ufe0f shrug",
]

_UNICODE = [
    "e\u0301 versus \u00e9",
    "a\u0300\u0301\u0302\u0303\u0304 stacked",
    "\u202eright to left\u202c back",
    "\ufeffbom at the start",
    "zero\u200cwidth\u200djoiners\u2060word",
    "\U0001d4d7\U0001d4ee\U0001d4f5\U0001d4f5\U0001d4f8 \U0001d7d8\U0001d7d9",
    "\ufb01ne \ufb02ow \u0132 \u01c4 \ufdfa",
    "\uff28\uff45\uff4c\uff4c\uff4f \uff01",
    "\u0000nul\u0001soh\u007fdel\u001besc",
    "\ue000 private \U000f0000 \U0010fffd",
    "\ufffd \ufffe \uffff noncharacters",
    "\u1e9e \u00df \u0130 \u0131 \u017f \u212a",
    "\u2014 \u2013 \u2026 \u201c\u201d \u2018\u2019 \u00ab\u00bb \u2039\u203a \u2022 \u00b7",
    "\u221e \u2211 \u222b \u2202 \u2260 \u2264 \u00b1 \u00d7 \u00f7 \u221a \u2208 \u2200 \u2203",
    "\u2500\u2501\u2502\u250c\u2510 \u2588\u2593\u2592\u2591 \u25a0\u25cf\u25b2",
    "\u00a9 \u00ae \u2122 \u00a7 \u00b6 \u00b0 \u00b5 \u2103 \u2116",
    "\U00010380\U00010381 \U00012000 \U00013000 \U0001f000 \U0001f0a1",
    "\u0e01\u0e33\u0e49 \u0915\u094d\u0937 \u1100\u1161\u11a8 \u0b95\u0bca",
]

_WORDS = [
    "don't won't I'll you're he's we'd they've 'tis rock'n'roll",
    "DON'T I'LL YOU'RE IT'S O'BRIEN",
    "naïve façade coöperate résumé",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "well-known, state-of-the-art; e.g. (i.e.) etc... wait?! \"quoted\" 'single'",
    "Hello,World!How are you?I'm fine.",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "abababababababababababab",
    "!!!!!!!!!!!!!!!!????????........",
    "=========================",
    "The the THE tHe thE",
    "Qwrtp xkcd zzyzx bcdfghjkl",
]

DIGITS_AFTER_SPACE = [
    "# Title\n\n* item **bold** _it_\n  1. nested\n\n> quote\n\n```py\nx\n```\n",
    "١٢٣ ४५६ ７８９ ⅷ ½ ² ₃ ①",
    "a  1   2    3\n  4\n\t5 \n 6",
    "x = [\n    1,\n    22,\n   333,\n]\n",
    "153e.0232.8291067  050 494+83-36767394-42eE0569-396",
]
"""Strings on which transformers' reading of the GGUF file goes wrong: it forgets that the published
tokenizer cuts out every digit first, so that the space before one counts as the end of its run."""

_ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz      ",
    "abcXYZ012 \n\t.,;:!?'\"()[]{}<>/\\|@#$%^&*-_=+`~",
    "aäbcéèßœøłžğışαβγδжзиђאבגدخنकखग가나다あいアイ漢字 ",
    "\U0001f600\U0001f680\u2764\ufe0f\u200d\U0001f3fd ab\n",
    " \n\t\r\u00a0\u2003x",
    "0123456789.,-+eE",
]


def strings() -> list[str]:
    """200 strings, always the same: the lists above, then random ones from mixed alphabets."""
    fixed = [*_LANGUAGES.splitlines(), *_CODE, *_MARKUP, *_SPACES, *_DIGITS, *_EMOJI]
    fixed += [*_UNICODE, *_WORDS]
    draw = random.Random(20)
    while len(fixed) < 200:
        alphabet = _ALPHABETS[len(fixed) % len(_ALPHABETS)]
        fixed.append("".join(draw.choice(alphabet) for _ in range(draw.randint(3, 60))))
    return fixed
