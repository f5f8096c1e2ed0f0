"""Recordings of speech for tests, and where packages of the index carry them.

They are fetched once, into the user's cache, and never committed.
"""

from __future__ import annotations

from cactus.weights.packages import Archive, PackageFolder, PackedFile

VOICES = PackageFolder(
    (
        Archive(
            "moonshine-voice",
            "0.1.5",
            "moonshine_voice-0.1.5-py3-none-manylinux_2_34_x86_64.whl",
            "1ed9e0ccf94be4845d69e7fa862dcf4c8b5801a758796966494c694f48184496",
            19_897_307,
        ),
        Archive(
            "pocketsphinx",
            "5.1.1",
            "pocketsphinx-5.1.1.tar.gz",
            "675778b309a22dfc9b7d37f7621976bba491d2a5f8c59696bd77fd6d07271355",
            34_158_862,
        ),
    ),
    (
        PackedFile(
            "two_cities.wav",
            4_260_326,
            "f3348494d77cb74a02862f5e685ed09faf3e75832c5cc5c80703282c2cd8b52e",
            ((0, "moonshine_voice/assets/two_cities.wav"),),
        ),
        PackedFile(
            "beckett.wav",
            318_978,
            "e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61",
            ((0, "moonshine_voice/assets/beckett.wav"),),
        ),
        PackedFile(
            "endgame_nagg_nell.wav",
            1_357_352,
            "78f44dc6d3da32ecab0c37f391700f0569f4612b8e0be2ecbaf33e1d3d566474",
            ((0, "moonshine_voice/assets/endgame_nagg_nell.wav"),),
        ),
        PackedFile(
            "librivox_0870.wav",
            227_244,
            "b0557cf95c974d930577e58e46b7f068c432a6e3afcc286563d88922b2a5315c",
            (
                (
                    1,
                    "pocketsphinx-5.1.1/test/data/librivox/sense_and_sensibility_01_austen_64kb-0870.wav",
                ),
            ),
        ),
        PackedFile(
            "librivox_0880.wav",
            95_724,
            "fbec491ef00ee734a67f0ee318e98c51c157b479e1629ff4f4426861ecac0414",
            (
                (
                    1,
                    "pocketsphinx-5.1.1/test/data/librivox/sense_and_sensibility_01_austen_64kb-0880.wav",
                ),
            ),
        ),
        PackedFile(
            "librivox_0890.wav",
            169_644,
            "5793ffbdee55fb8bfd284943a6866864c832d9d4accf2661cabd39915c84ee10",
            (
                (
                    1,
                    "pocketsphinx-5.1.1/test/data/librivox/sense_and_sensibility_01_austen_64kb-0890.wav",
                ),
            ),
        ),
        PackedFile(
            "librivox_0920.wav",
            193_644,
            "40882414ef4cc51f3ff7a63bad0c8c87e7f595ffeb8209fbf756c8ebc5c28a59",
            (
                (
                    1,
                    "pocketsphinx-5.1.1/test/data/librivox/sense_and_sensibility_01_austen_64kb-0920.wav",
                ),
            ),
        ),
        PackedFile(
            "librivox_0930.wav",
            105_324,
            "954adbf0b56ac8a148cbe77b39ca18d76b5f2a1e1f405565bd786ce3e68a68b7",
            (
                (
                    1,
                    "pocketsphinx-5.1.1/test/data/librivox/sense_and_sensibility_01_austen_64kb-0930.wav",
                ),
            ),
        ),
        PackedFile(
            "cards_001.wav",
            35_096,
            "899951e768666f27c8f8b1d4090b96fe7909cae9cec01bec0a5d5d1b8a8d566e",
            ((1, "pocketsphinx-5.1.1/test/data/cards/001.wav"),),
        ),
        PackedFile(
            "cards_002.wav",
            62_772,
            "a3f9eae6fdb69a1231989e39a14d62388a6f52fb59666c76d95005318fadafec",
            ((1, "pocketsphinx-5.1.1/test/data/cards/002.wav"),),
        ),
        PackedFile(
            "cards_003.wav",
            49_266,
            "00d283e46bc257ae479e4aa86593cadb541656eba1d19fc8abeece37f6a5a18b",
            ((1, "pocketsphinx-5.1.1/test/data/cards/003.wav"),),
        ),
        PackedFile(
            "cards_004.wav",
            49_772,
            "4c44a8177f5b128b99f078cdeb918119933155574231f1833e8840d1af09c521",
            ((1, "pocketsphinx-5.1.1/test/data/cards/004.wav"),),
        ),
        PackedFile(
            "cards_005.wav",
            112_124,
            "090f18f5f76cf8b2b43cd9e6b07823f4685a4742d9a36cd98b174a6586c18cf9",
            ((1, "pocketsphinx-5.1.1/test/data/cards/005.wav"),),
        ),
    ),
)
"""Recorded speech, 16 to 48 kHz, of one to 44 seconds."""

TWO_CITIES = (
    "it was the best of times it was the worst of times it was the age of wisdom it was the age of "
    "foolishness it was the epoch of belief it was the epoch of incredulity it was the season of "
    "light it was the season of darkness it was the spring of hope it was the winter of despair we "
    "had everything before us we had nothing before us we were all going direct to heaven we were "
    "all going direct the other way in short the period was so far like the present period that "
    "some of its noisiest authorities insisted on its being received for good or for evil in the "
    "superlative degree of comparison only"
)
"""What is said in two_cities.wav, by Charles Dickens."""

TRANSCRIPTS = {
    "librivox_0870.wav": "and mister john dashwood had then leisure to consider how much there "
    "might be prudently in his power to do for them",
    "librivox_0880.wav": "he was not an ill disposed young man",
    "librivox_0890.wav": "unless to be rather cold hearted and rather selfish is to be ill "
    "disposed",
    "librivox_0920.wav": "had he married a more amiable woman he might have been made still more "
    "respectable than he was",
    "librivox_0930.wav": "he might even have been made amiable himself",
    "cards_001.wav": "ten of clubs",
    "cards_002.wav": "four queen of clubs",
    "cards_003.wav": "seven of clubs",
    "cards_004.wav": "five five",
    "cards_005.wav": "eight of spades four of clubs seven of hearts",
}
"""What is said, by the packages; their slip "a more a amiable" is corrected."""
