"""The languages of Whisper: codes and English names."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from cactus.errors import InvalidRequest

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

NAMES = dict(each.strip().split(" ", 1) for each in _TABLE.split(","))
"""From codes as they stand in the vocabulary (``jw`` is Javanese there) to names."""

_CODES = {name.lower(): code for code, name in NAMES.items()}


def code_of(language: str) -> str:
    """The code of a language given as code or English name, in any case; else what was given."""
    wanted = language.strip().lower()
    return _CODES.get(wanted, wanted)


def unknown(language: str | None, known: Collection[str]) -> InvalidRequest:
    """The error for a language that is none of the codes `known`; it names those that are near."""
    spellings = {code: code for code in known}
    spellings |= {NAMES[code].lower(): code for code in known if code in NAMES}
    # A code with a region, such as en-US, begins with the right one.
    wanted = (language or "").lower()
    near = [code for code in known if wanted.replace("_", "-").partition("-")[0] == code]
    near = near or [
        spellings[each] for each in get_close_matches(wanted, spellings, n=2, cutoff=0.65)
    ]
    said = f"language is {language!r:.60}"
    if near:
        shown = (f"{code} ({NAMES[code]})" if code in NAMES else code for code in near)
        return InvalidRequest(f"{said}; did you mean {', '.join(dict.fromkeys(shown))}?")
    return InvalidRequest(f"{said}, expected one of: {', '.join(sorted(known))}")
