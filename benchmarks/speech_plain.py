"""Child of the speech benchmarks: the words of English texts as the published evaluation has them.

Reads a JSON list of texts from standard input; prints a list of their words, spelled one way.
"""

import json
import sys

from whisper_normalizer.english import EnglishTextNormalizer

plain = EnglishTextNormalizer()
print(json.dumps([plain(text).split() for text in json.load(sys.stdin)]))
