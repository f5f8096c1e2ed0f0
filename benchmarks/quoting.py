"""The prompts of speculation.py: twenty whose answers quote, ten that do not, six of code.

What a model of this size quotes is not always what it was asked for; it is quoted all the same.
"""

from __future__ import annotations

from typing import NamedTuple


class Prompt(NamedTuple):
    """One request: the `kind` of work, and what the user says."""

    kind: str
    text: str


MILL = """\
The old mill stands where the river bends below the village. It was built in 1794 by two \
brothers, Anton and Jakob Reuter, who had come from the mountains with a cart of tools and no \
money. The wheel turned for one hundred and sixty years and ground the corn of nine villages. In \
the winter of 1954 the ice broke the axle, and the owner, Martha Reuter, could not pay for a new \
one. The mill was empty until a group of teachers bought it for 12,000 marks and made it a \
museum. Today it is open from April to October, and visitors can bake bread with flour that was \
ground in front of them."""

STATION = """\
The research station at Kell Bay has eleven rooms and a greenhouse. Seven people live there in \
summer and four in winter. They measure the thickness of the ice, count the seals on the \
northern beach, and send weather reports every six hours. Power comes from two wind turbines and \
a diesel generator that is used only when the wind is below three metres per second. Supplies \
arrive by ship in January and in March. The station doctor, Elena Brandt, also bakes the bread, \
repairs the radio and teaches the others to play the violin."""

MINUTES = """\
Minutes of the garden club, 14 May. Present: Ruth Okafor, Peter Lindgren, Amina Haddad, Tom \
Weaver. Ruth Okafor reported that the pump had been repaired for 240 euros. Peter Lindgren asked \
for a second water barrel behind the tool shed. Amina Haddad will order forty bags of compost \
from the farm in Elmsworth before the end of the month. Tom Weaver offered to paint the fence on \
Saturday, 1 June, if the weather is dry. The next meeting is on 18 June at seven o'clock in the \
library."""

LETTER = """\
Dear Mr. Holloway, thank you for your order of 3 September. We are sorry to tell you that the \
walnut bookcase (article 4471-B) is not in stock at the moment. The workshop expects to finish \
the next six pieces in the second week of October. You can wait for your bookcase, choose the \
same model in oak at the price of 389 dollars, or cancel the order without any cost. Please let \
us know by 20 September what you would like to do. With kind regards, Sofia Marchetti, Northgate \
Furniture."""

RECIPE = """\
Wash two kilos of ripe tomatoes and cut them into quarters. Heat four spoons of olive oil in a \
wide pan and cook three chopped onions until they are soft and golden. Add the tomatoes, two bay \
leaves, a spoon of sugar and a spoon of salt. Let everything simmer for fifty minutes and stir \
from time to time. Take out the bay leaves, press the sauce through a sieve and fill it into \
clean jars while it is hot. Closed jars keep for one year in a dark and cool place."""

RECORD = """\
name: Hannelore Piotrowski
born: 7 November 1968
street: 52 Lower Canal Road
city: Wexford
telephone: 0555 018 2764
e-mail: h.piotrowski@example.org
customer since: March 2011
contract: CX-90417-L
balance: 1,284.60"""

LOG = """\
08:14:02 gateway started, version 3.2.1
08:14:05 sensor north-1 connected, battery 87 percent
08:14:06 sensor north-2 connected, battery 91 percent
08:21:40 sensor south-1 did not answer for 30 seconds
08:22:10 sensor south-1 connected, battery 14 percent
09:02:55 valve 3 opened by rule "dry soil"
09:17:55 valve 3 closed by rule "dry soil"
11:45:00 backup written to disk, 418 megabytes"""

QUOTING = [
    Prompt("edit", f"Repeat this text and change the name Reuter to Keller:\n\n{MILL}"),
    Prompt("edit", f"{MILL}\n\nCopy the text above, and change Reuter to Keller."),
    Prompt("edit", f"Copy this text, but write Port Rowan instead of Kell Bay:\n\n{STATION}"),
    Prompt(
        "edit",
        f"Edit this text: replace Tom Weaver by Karl Weaver. Print the whole text.\n\n{MINUTES}",
    ),
    Prompt("edit", f"Repeat this text and change the name Mr. Holloway to Mrs. Baker:\n\n{LETTER}"),
    Prompt("edit", f"Proofread this text and print the corrected text:\n\n{RECIPE}"),
    Prompt("edit", f"{RECORD}\n\nCopy the text above, and change Wexford to Dublin."),
    Prompt("edit", f"Proofread this text and print the corrected text:\n\n{LOG}"),
    Prompt("extract", f"Extract the sentences about the wheel from this text:\n\n{MILL}"),
    Prompt("extract", f"Copy the sentence about the power from this text:\n\n{STATION}"),
    Prompt(
        "extract",
        f"{MINUTES}\n\nCopy the sentences about the pump from the text above, word for word.",
    ),
    Prompt("extract", f"Split this text into a numbered list of its sentences:\n\n{MINUTES}"),
    Prompt("extract", f"Copy the sentence about the workshop from this text:\n\n{LETTER}"),
    Prompt("extract", f"Split this text into a numbered list of its sentences:\n\n{RECIPE}"),
    Prompt("extract", f"Extract the sentences about the onions from this text:\n\n{RECIPE}"),
    Prompt("answer", f"{MILL}\n\nWhy was the mill closed? Quote the text."),
    Prompt(
        "answer",
        "Read this text, then answer the question by quoting it.\n\n"
        f"{MILL}\n\nWhy was the mill closed?",
    ),
    Prompt(
        "answer",
        "Read this text, then answer the question by quoting it.\n\n"
        f"{STATION}\n\nWhere does the power come from?",
    ),
    Prompt("answer", f"{MINUTES}\n\nWhat did Ruth Okafor report? Quote the text."),
    Prompt(
        "answer",
        "Read this text, then answer the question by quoting it.\n\n"
        f"{LETTER}\n\nWhat can Mr. Holloway do?",
    ),
]

FREE = [
    Prompt("free", text)
    for text in (
        "Write a short story about a lighthouse keeper who finds a letter.",
        "Explain how a bicycle stays upright.",
        "Describe a market in a small town on a Saturday morning.",
        "Why do leaves change their colour in autumn?",
        "Write a letter to a friend about moving to another country.",
        "What should somebody know before they adopt a dog?",
        "Tell me about the history of chess.",
        "Describe the taste of five kinds of fruit.",
        "What is it like to live on a small island?",
        "How does a refrigerator work?",
    )
]

CODE = [
    Prompt("code", text)
    for text in (
        "Write a Python function that returns the prime numbers below n, with a docstring.",
        "Write a Python class for a bank account with deposit, withdraw and a history.",
        "Write a C function that reverses a linked list.",
        "Write an SQL schema for a library with books, readers and loans.",
        "Write a bash script that makes a backup of a folder and keeps the last five.",
        "Write a JavaScript function that groups a list of objects by a key.",
    )
]
