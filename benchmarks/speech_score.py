"""Child of the speech benchmarks: word error rates of texts. Prints one line of JSON.

Reads {"said": {name: text}, "heard": {side: {name: text}}} from standard input. Texts are
compared as the published evaluation of Whisper does it: both through its English normaliser.
"""

import json
import sys

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer

given = json.load(sys.stdin)
plain = EnglishTextNormalizer()
found = {}
for side, heard in given["heard"].items():
    counts = {"all": [0, 0]}
    for name, said in given["said"].items():
        result = jiwer.process_words(plain(said), plain(heard[name]))
        wrong = result.substitutions + result.deletions + result.insertions
        words = result.hits + result.substitutions + result.deletions
        counts[name] = [wrong, words]
        counts["all"][0] += wrong
        counts["all"][1] += words
    found[side] = counts
print(json.dumps(found))
