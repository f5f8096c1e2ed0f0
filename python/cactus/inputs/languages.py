"""The languages of Whisper: codes, English names, and what their speakers call them."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from difflib import get_close_matches

from cactus.errors import InvalidRequest
from cactus.inputs.checks import short
from cactus.inputs.text import SHOWN

_TABLE = """
af Afrikaans, am Amharic, ar Arabic, as Assamese, az Azerbaijani, ba Bashkir, be Belarusian,
bg Bulgarian, bn Bengali, bo Tibetan, br Breton, bs Bosnian, ca Catalan, cs Czech, cy Welsh,
da Danish, de German, el Greek, en English, es Spanish, et Estonian, eu Basque, fa Persian,
fi Finnish, fo Faroese, fr French, gl Galician, gu Gujarati, ha Hausa, haw Hawaiian, he Hebrew,
hi Hindi, hr Croatian, ht Haitian Creole, hu Hungarian, hy Armenian, id Indonesian, is Icelandic,
it Italian, ja Japanese, jw Javanese, ka Georgian, kk Kazakh, km Khmer, kn Kannada, ko Korean,
la Latin, lb Luxembourgish, ln Lingala, lo Lao, lt Lithuanian, lv Latvian, mg Malagasy, mi Maori,
mk Macedonian, ml Malayalam, mn Mongolian, mr Marathi, ms Malay, mt Maltese, my Burmese,
ne Nepali, nl Dutch, nn Nynorsk, no Norwegian, oc Occitan, pa Punjabi, pl Polish, ps Pashto,
pt Portuguese, ro Romanian, ru Russian, sa Sanskrit, sd Sindhi, si Sinhala, sk Slovak,
sl Slovenian, sn Shona, so Somali, sq Albanian, sr Serbian, su Sundanese, sv Swedish, sw Swahili,
ta Tamil, te Telugu, tg Tajik, th Thai, tk Turkmen, tl Tagalog, tr Turkish, tt Tatar,
uk Ukrainian, ur Urdu, uz Uzbek, vi Vietnamese, yi Yiddish, yo Yoruba, yue Cantonese, zh Chinese
"""

_OWN_NAMES = """
af Afrikaans, am አማርኛ, ar العربية, as অসমীয়া, az Azərbaycanca, az Azərbaycan dili, ba Башҡортса,
ba Башҡорт теле, be Беларуская, bg Български, bn বাংলা, bo བོད་སྐད་, br Brezhoneg, bs Bosanski,
ca Català, cs Čeština, cs Česky, cy Cymraeg, da Dansk, de Deutsch, el Ελληνικά, en English,
es Español, es Castellano, et Eesti, et Eesti keel, eu Euskara, fa فارسی, fi Suomi, fo Føroyskt,
fr Français, gl Galego, gu ગુજરાતી, ha Hausa, haw ʻŌlelo Hawaiʻi, he עברית, hi हिन्दी, hi हिंदी,
hr Hrvatski, ht Kreyòl ayisyen, ht Kreyòl, hu Magyar, hy Հայերեն, id Bahasa Indonesia,
is Íslenska, it Italiano, ja 日本語, jw Basa Jawa, ka ქართული, kk Қазақша, kk Қазақ тілі, km ខ្មែរ,
km ភាសាខ្មែរ, kn ಕನ್ನಡ, ko 한국어, la Latina, la Lingua latina, lb Lëtzebuergesch, ln Lingála, lo ລາວ,
lo ພາສາລາວ, lt Lietuvių, lv Latviešu, mg Malagasy, mi Māori, mi Te reo Māori, mk Македонски,
ml മലയാളം, mn Монгол, mn Монгол хэл, mr मराठी, ms Bahasa Melayu, mt Malti, my မြန်မာ, my မြန်မာဘာသာ,
ne नेपाली, nl Nederlands, nl Vlaams, nn Norsk nynorsk, no Norsk, no Bokmål, oc Occitan,
pa ਪੰਜਾਬੀ, pl Polski, ps پښتو, pt Português, ro Română, ru Русский, sa संस्कृतम्, sd سنڌي, si සිංහල,
sk Slovenčina, sk Slovensky, sl Slovenščina, sn chiShona, so Soomaali, so Af-Soomaali, sq Shqip,
sr Српски, sr Srpski, su Basa Sunda, sv Svenska, sw Kiswahili, ta தமிழ், te తెలుగు, tg Тоҷикӣ,
th ไทย, th ภาษาไทย, tk Türkmençe, tk Türkmen dili, tl Filipino, tr Türkçe, tt Татарча,
tt Татар теле, uk Українська, ur اردو, uz Oʻzbekcha, uz Oʻzbek tili, vi Tiếng Việt, yi ייִדיש,
yo Yorùbá, yue 粵語, yue 粤语, yue 廣東話, yue 广东话, zh 中文, zh 汉语, zh 漢語, zh 普通话, zh 國語
"""

_OTHER_NAMES = """
my Myanmar, ca Valencian, nl Flemish, ht Haitian, lb Letzeburgesch, ps Pushto, pa Panjabi,
ro Moldavian, ro Moldovan, si Sinhalese, es Castilian, zh Mandarin, zh Mandarin Chinese,
fa Farsi, no Norwegian Bokmål, el Modern Greek, jw jv, he iw, no nb, tl fil
"""
"""English names and codes that are used, too."""


def _pairs(table: str) -> list[tuple[str, str]]:
    """(code, name) of a table's entries."""
    entries = (each.strip().partition(" ") for each in table.split(","))
    return [(code, name) for code, _, name in entries]


def _key(name: str) -> str:
    """A name without what is often left out when it is typed: case, accents, apostrophes."""
    letters = unicodedata.normalize("NFKD", name.strip().casefold())
    return "".join(each for each in letters if each not in _LEFT_OUT)


_LEFT_OUT = frozenset(
    "\u0300\u0301\u0302\u0303\u0304\u0308\u030a\u030b\u030c\u0323\u0327\u0328'ʻʼ’"
)


NAMES = dict(_pairs(_TABLE))
"""From codes as they stand in the vocabulary (``jw`` is Javanese there) to names."""

_CODES = {
    _key(name): code for table in (_OTHER_NAMES, _OWN_NAMES, _TABLE) for code, name in _pairs(table)
}


def code_of(language: str) -> str:
    """The code of a language given as a code, by its English name or its own; else what was given.

    Case and accents do not matter: ``Deutsch``, ``german``, ``espanol``, ``日本語``.
    """
    wanted = language.strip().lower()
    return wanted if wanted in NAMES else _CODES.get(_key(language), wanted)


def unknown(language: str | None, known: Collection[str]) -> InvalidRequest:
    """The error for a language that is not one of the codes `known`; it names those nearby."""
    spellings = {code: code for code in known}
    spellings |= {name.lower(): code for name, code in _CODES.items() if code in known}
    # A code with a region, such as en-US, begins with the right one.
    wanted = (language or "")[:SHOWN].lower()
    near = [code for code in known if wanted.replace("_", "-").partition("-")[0] == code]
    near = near or [
        spellings[each] for each in get_close_matches(wanted, spellings, n=2, cutoff=0.65)
    ]
    wrong = f"language is {short(language)}"
    if near:
        shown = (f"{code} ({NAMES[code]})" if code in NAMES else code for code in near)
        return InvalidRequest(f"{wrong}; did you mean {', '.join(dict.fromkeys(shown))}?")
    return InvalidRequest(f"{wrong}, expected one of: {', '.join(sorted(known))}")
