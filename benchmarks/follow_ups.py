"""Follow-up questions: how a search for them finds what they are about, in a few simple ways.

    python benchmarks/follow_ups.py --embedder weights/all-minilm-l6-v2

Each case is a question of perlfaq and a second one that leaves out what the first has named; the
document that answers the second is known. The last cases change the subject instead. Counted is in
how many the document is among the 5 best for the second question

- alone;
- joined     behind the first one;
- merged     both, the better score of each passage counting: what chats with documents do.
"""

from __future__ import annotations

import argparse
import sys

from question_sets import load
from runner import BenchmarkError, finish

from cactus import Corpus
from cactus.corpus.reader import TOP_K, Reader

FOLLOWING = [
    ("How do I reverse a string?", "And expand tabs in it?", "How do I expand tabs in"),
    ("How do I get a file's timestamp in perl?", "And how is it set?", "How do I set a file's"),
    ("How do I delete a directory tree?", "And copy one?", "How do I copy an entire directory"),
    ("How do I clear the screen?", "And get its size?", "How do I get the screen size"),
    ("How do I get a random number between X and Y?", "Why aren't they random?", "Why aren't my"),
    (
        "How do I shuffle an array randomly?",
        "And pick just one of it?",
        "How do I select a random e",
    ),
    ("How do I sort an array by (anything)?", "And a hash?", "How do I sort a hash"),
    ("How can I copy a file?", "And rename it reliably?", "How can I reliably rename"),
    ("How can I lock a file?", "Do I need that to append a little?", "All I want to do is append"),
    ("How do I create a module?", "And a class?", "How do I create a class"),
    (
        "How do I count the number of lines in a file?",
        "And drop the last ones?",
        "How do I delete the l",
    ),
    ("How do I find yesterday's date?", "And the week of the year?", "How do I find the day or"),
    (
        "How can I remove duplicate elements from a list?",
        "Is a certain one in it?",
        "How can I tell wh",
    ),
    (
        "How do I test whether two arrays are equal?",
        "And their difference?",
        "How do I compute the d",
    ),
    ("How can I sleep() for under a second?", "And measure it?", "How can I measure time under"),
    ("How do I merge two hashes?", "How many entries has one?", "How can I know how many entries"),
    (
        "How can I read in an entire file all at once?",
        "By paragraphs?",
        "How can I read in a file by",
    ),
    (
        "How do I strip blank space from a string?",
        "How do I pad it instead?",
        "How do I pad a string",
    ),
]
CHANGING = [
    ("How do I clear the screen?", "How do I find yesterday's date?", "How do I find yesterday"),
    ("How can I lock a file?", "What's a closure?", "What's a closure"),
    ("How do I merge two hashes?", "How do I fork a daemon process?", "How do I fork a daemon"),
    ("How do I create a class?", "How do I multiply matrices?", "How do I multiply matrices"),
    ("How do I reverse a string?", "How do I use an SQL database?", "How do I use an SQL"),
    ("How do I set CPU limits?", "How can I output Roman numerals?", "How can I output Roman"),
]


class Both(Reader):
    """Gives what a chat would search and find."""

    def found(self, questions: list[str]) -> list[str]:
        """The files of the passages that a model would be given for the last question."""
        return [hit.source for hit in self._search(questions)[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--embedder", required=True, help="the model that finds passages")
    options = parser.parse_args()
    questions = load("perlfaq")
    with Corpus(questions.folder, embedder=options.embedder, progress=True) as corpus:
        both = Both(corpus)
        print("                  cases  alone  joined  merged")
        for name, cases in (("follow-ups", FOLLOWING), ("other subjects", CHANGING)):
            counts = [0, 0, 0]
            for first, second, wanted in cases:
                right = {
                    each.source for each in questions.questions if each.text.startswith(wanted)
                }
                if not right:
                    raise BenchmarkError(f"perlfaq has no question {wanted!r}")
                ways = (
                    [hit.source for hit in corpus.search(second, TOP_K)],
                    [hit.source for hit in corpus.search(f"{first}\n{second}", TOP_K)],
                    both.found([first, second]),
                )
                for way, found in enumerate(ways):
                    counts[way] += not right.isdisjoint(found)
            print(f"{name:<18}{len(cases):5}  {counts[0]:5}  {counts[1]:6}  {counts[2]:6}")


if __name__ == "__main__":
    sys.exit(finish("follow_ups", main))
