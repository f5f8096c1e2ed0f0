"""Faults that must not hurt: what each is, and what is promised of it.

A test that shows a promise is marked `@pytest.mark.fault("F07")`; tools/gen_robustness.py makes the
table of docs/robustness.md of both.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One line of the table; its text is Markdown."""

    name: str
    what: str
    promise: str


MODEL_FILES = (
    Fault(
        "F01",
        "A GGUF file that is empty, three bytes long, of another format, of an unknown version, "
        "or big-endian",
        "refused; the error names the magic or the version",
    ),
    Fault(
        "F02",
        "Counts of tensors or of metadata that the file has no bytes for, 2^63 or -1",
        "compared with the bytes that are left before anything is allocated",
    ),
    Fault(
        "F03",
        "Strings longer than the file; keys that are empty, twice there, not UTF-8, or have a NUL",
        "refused, with the offset",
    ),
    Fault(
        "F04",
        "Arrays of arrays, of an unknown type, of 2^40 elements",
        "refused before anything is allocated",
    ),
    Fault(
        "F05",
        "An alignment of 0, 3 or 2^31, or of another type",
        "refused",
    ),
    Fault(
        "F06",
        "No or five dimensions; sizes of 0, negative, or with a product beyond 64 bits; rows that "
        "are not whole blocks",
        "checked without overflow, and refused",
    ),
    Fault(
        "F07",
        "Tensors that are misaligned, overlap, leave holes, or end behind the file",
        "refused when the file is opened, not when the tensor is read; the same for the plans of "
        "a weights folder",
    ),
    Fault(
        "F08",
        "Tensors that are twice there, missing, or more than the model has",
        "an error that names the tensor; those that change no answer are noted",
    ),
    Fault(
        "F09",
        "A tensor type that is unknown or was removed from the format; a shape that the model "
        "does not have",
        "an error with the tensor, what was expected and what was there",
    ),
    Fault(
        "F10",
        "Metadata that lies: no or 10^9 layers, no heads, heads that do not divide, an odd rotary "
        "dimension, another vocabulary, an absurd context",
        "refused by the name of the key, before anything is computed of it",
    ),
    Fault(
        "F11",
        "A file that was cut anywhere; one that is cut after it was loaded",
        "refused when it is opened; afterwards noticed before each step, and of no effect with "
        "`resident=True`",
    ),
    Fault(
        "F12",
        "Weights or scales that are NaN or infinite",
        "`NonFiniteLogits`, for the request alone that met them; never a token that there is not",
    ),
    Fault(
        "F13",
        "A safetensors header that is empty, larger than 100 MB or than the file, not an object, "
        "has duplicate keys, holes, overlaps, unknown types or too deep JSON; bytes behind the "
        "last tensor",
        "refused, in time that is proportional to the header",
    ),
    Fault(
        "F14",
        "An index whose shards are missing, lie elsewhere, or are links out of the folder",
        "refused; nothing outside of the folder, or of the cache that it belongs to, is opened",
    ),
    Fault(
        "F15",
        "A pickle, under any name, or with a zip bomb in it",
        "refused with the reason; never opened",
    ),
    Fault(
        "F16",
        "A `config.json` that names code to be run",
        "nothing of a model's folder is imported or run; that it has code is noted",
    ),
    Fault(
        "F17",
        "A tokenizer with absent merges, ten million of them, duplicate or missing pieces, scores "
        "that are NaN, or an expression that takes exponential time",
        "refused when it is loaded; text is cut in time that is proportional to its length",
    ),
    Fault(
        "F18",
        "Special tokens outside of the vocabulary",
        "refused by name",
    ),
    Fault(
        "F19",
        "An adapter of another base, of rank 0, or with half of a pair; a vision file of another "
        "model",
        "refused; the base stays as it is",
    ),
    Fault(
        "F20",
        "A path that is a folder, a pipe, a device that never ends, or may not be read",
        "an error at once; only regular files are read, and nothing is waited for",
    ),
    Fault(
        "F21",
        "A file that is replaced while others use it",
        "what was loaded stays as it was; a load afterwards sees the new content, even of the "
        "same size and date",
    ),
)

TEMPLATES = (
    Fault(
        "F22",
        "A chat template that looks for Python behind its values",
        "an error; nothing is run",
    ),
    Fault(
        "F23",
        "A chat template that never ends, prints without end, or includes others",
        "stopped by limits on steps, output and time; there is nothing to include; the next call "
        "works",
    ),
    Fault(
        "F24",
        "A chat template with a mistake in it, or that refuses the messages",
        "an error with the template's line and words; raw text can be completed all the same",
    ),
    Fault(
        "F25",
        "Markup of the model in what a user says",
        "it is text: no part of a message can become a special token or another role",
    ),
    Fault(
        "F26",
        "A request that brings a template, or variables that stand for the messages",
        "refused by the field's name",
    ),
)

REQUESTS = (
    Fault(
        "F27",
        "A body that is not JSON, not an object, too large, too deep, in another encoding, "
        "compressed, or never comes",
        "400, 408, 413 or 415, before more than the limit was read",
    ),
    Fault(
        "F28",
        "Messages that are null, empty, of unknown roles, in an odd order, or a hundred thousand",
        "a 400 that names the message and its field, or an answer",
    ),
    Fault(
        "F29",
        "Text with wrong UTF-8, half characters, NUL, invisible marks, or a megabyte without a "
        "space",
        "an error or U+FFFD, in linear time",
    ),
    Fault(
        "F30",
        "A prompt that is longer than the context",
        "refused with both numbers before anything is computed; a plain 400 in streams, too",
    ),
    Fault(
        "F31",
        "`max_tokens` of 0, -1, 2^31 or null; a prompt that fills the context",
        "0 reads the prompt only, too many are cut to the room, the others are refused",
    ),
    Fault(
        "F32",
        "A million choices, alternatives or biases; biases of tokens that there are not",
        "refused by limits that are checked first",
    ),
    Fault(
        "F33",
        "Sampling options that are NaN, infinite, negative or far out of range",
        "refused by name; whatever is accepted gives a token of the vocabulary",
    ),
    Fault(
        "F34",
        "Stop strings that are empty, too many, too long, across tokens or inside of a character",
        "at most 16 of 1,024 bytes; the answer ends exactly before it, and never within a "
        "character",
    ),
    Fault(
        "F35",
        "Tools without a name, with a wrong or long one, with the same, or with schemas that are "
        "none",
        "a 400 with the place: `tools[3].function.parameters.type`",
    ),
    Fault(
        "F36",
        "Earlier calls whose arguments are not JSON",
        "accepted as the text they are",
    ),
    Fault(
        "F37",
        "A model that writes half a call, a call of an unknown tool, or markup inside of strings",
        "what is not a whole call of a declared tool is text; no text is lost, and no stream "
        "breaks",
    ),
    Fault(
        "F38",
        "Schemas that refer to themselves or to elsewhere, are huge, deep, or take exponential "
        "time",
        "refused, or given up within limits of work beside the event loop; nothing is fetched; "
        "what is kept is bounded in bytes",
    ),
    Fault(
        "F39",
        "Texts to embed that are empty, too many, too long, or token ids that there are not",
        "refused by place; cut only where that was asked for; the vector of nothing is zero and "
        "not NaN",
    ),
    Fault(
        "F40",
        "Images that are damaged, cut, of another kind, that unpack to gigabytes, with odd "
        "colours, turned, or animated",
        "at most 64 million pixels, by the header, before anything is decoded; the first frame in "
        "RGB, upright; else refused",
    ),
    Fault(
        "F41",
        "Addresses of images: private ones in any spelling, names that are bound anew, redirects, "
        "other schemes, bodies without end",
        "nothing is fetched unless it was allowed; then every address is checked and used as it "
        "was checked, within limits of time and bytes",
    ),
    Fault(
        "F42",
        "Paths of the server's files in a request",
        "refused, whether they are there or not",
    ),
)

AUDIO = (
    Fault(
        "F43",
        "Files with no samples, one sample, sizes of 0 or 2^32 - 1, odd chunks",
        "an empty transcription or a clear error",
    ),
    Fault(
        "F44",
        "Any sample format, channels and rate; a rate of 0 or 2^31",
        "decoded, or refused with what it was",
    ),
    Fault(
        "F45",
        "Compressed files, tables that lie, files of another kind under an audio name",
        "known by content and not by name; the error lists what is read",
    ),
    Fault(
        "F46",
        "Samples that are NaN or huge; silence, noise, an offset",
        "repaired, and said; where nobody speaks there is no text, and no loop",
    ),
    Fault(
        "F47",
        "Hours of audio; an upload over the limit",
        "read block by block in constant memory; can be ended at any moment; refused before it "
        "was read",
    ),
    Fault(
        "F48",
        "An unknown language or task, timestamps out of order",
        "refused by name; subtitles are always valid and in order",
    ),
    Fault(
        "F49",
        "A microphone that goes, has another rate, or delivers faster than is read",
        "what was heard is transcribed, then an error; what was lost is counted and said",
    ),
)

LIFECYCLE = (
    Fault(
        "F50",
        "Many threads on one model",
        "each gets the answer that it gets alone, bit by bit",
    ),
    Fault(
        "F51",
        "`stop()` before, after, twice, from a callback, another thread or a signal handler",
        "safe, and done within a token or a chunk of the prompt",
    ),
    Fault(
        "F52",
        "A model that is closed while it works, twice, or used afterwards",
        "calls end with `Cancelled`, later ones with `ModelClosed`; handles are numbers that are "
        "never used twice",
    ),
    Fault(
        "F53",
        "`reset()` while an answer is written",
        "what it would leave is forgotten; nothing is mixed",
    ),
    Fault(
        "F54",
        "A callback that raises, blocks, calls the model, or closes it",
        "its exception reaches the caller, others go on, and a call that cannot be made is refused",
    ),
    Fault(
        "F55",
        "A fork after loading; the end of the interpreter while threads generate; sub-interpreters",
        "`ForkError` in the child, nothing hangs, nothing is printed; a sub-interpreter is refused",
    ),
    Fault(
        "F56",
        "Too little memory, for the machine, the address space or the control group",
        "an error with what is needed and what there is; the request fails, and the next one works",
    ),
    Fault(
        "F57",
        "0, -3 or a million threads; one core; a processor without vector units",
        "a number that makes sense; a portable tier; no illegal instruction",
    ),
    Fault(
        "F58",
        "SIGINT, SIGTERM, SIGHUP, a pipe that is closed",
        "the first Ctrl-C ends the answer, the second the session (130); a server finishes its "
        "requests and ends with 0; no trace is printed",
    ),
    Fault(
        "F59",
        "Clients that leave at any moment",
        "their place is free at once, and it is counted",
    ),
    Fault(
        "F60",
        "Clients that read or write slowly, idle connections, huge headers, two requests at once",
        "bounded in time and memory: 408, 431; nobody waits for them",
    ),
    Fault(
        "F61",
        "More requests than there is room for",
        "429 or 503 with `Retry-After`; long prompts, and keys with many requests, take turns "
        "with others",
    ),
    Fault(
        "F62",
        "A hundred thousand requests, a thousand loads",
        "memory and descriptors stay as they are",
    ),
    Fault(
        "F63",
        "A port that is taken or privileged, an address of another machine, IPv6 alone, a socket "
        "file that was left",
        "a message with what to do, or it works",
    ),
    Fault(
        "F64",
        "A clock that goes back, odd locales and time zones, no home, odd and long paths",
        "it works the same",
    ),
)

DOWNLOADS = (
    Fault(
        "F65",
        "A disk that is full, before or meanwhile",
        "said with what is needed and what is free; what has arrived stays for the next time, a "
        "half conversion does not",
    ),
    Fault(
        "F66",
        "An end by SIGKILL at any byte",
        "the next run goes on where it was; nothing half has a final name",
    ),
    Fault(
        "F67",
        "Servers that ignore ranges, change files, send wrong lengths, hashes or web pages, are "
        "busy, or redirect anywhere",
        "begun again, tried again later, or a clear error; a token goes to its own host only",
    ),
    Fault(
        "F68",
        "Names of files and revisions that lead out of their folder, are of another system, or "
        "differ in case only",
        "refused; all that is written lies below the models' folder",
    ),
    Fault(
        "F69",
        "A cache that is damaged, half, or used by two at once",
        "found out and fetched or made again; of two, one downloads",
    ),
    Fault(
        "F70",
        "No network",
        "one clear message at once; what is here can be used; offline no socket is opened",
    ),
)

DOCUMENTS = (
    Fault(
        "F71",
        "Folders that are missing, empty or a file; links, pipes, devices, files that change "
        "meanwhile, a million files, other encodings",
        "left out and counted by reason; nothing outside of the folder is read, and nothing is "
        "waited for",
    ),
    Fault(
        "F72",
        "PDF, office, XML and HTML files that unpack to gigabytes, refer to elsewhere, are "
        "encrypted, broken, or endless",
        "read in a process of their own, with limits of time, memory and output; left out with "
        "the reason",
    ),
    Fault(
        "F73",
        "An index that is cut, of another version or embedder, written by two, or by one that was "
        "killed",
        "noticed; made again, or refused by name",
    ),
    Fault(
        "F74",
        "Queries that are empty, a megabyte, or look like a query language",
        "always words; scores are finite and in order, ties stable",
    ),
    Fault(
        "F75",
        "Documents with instructions, markup or made-up citations",
        "quoted as text; no call of theirs is run; a citation counts if its passage says so",
    ),
)

CLOUD = (
    Fault(
        "F76",
        "A cloud without a key, with a wrong one, or with an unknown model",
        "the local answer, and why; never an exception",
    ),
    Fault(
        "F77",
        "Time-outs, TLS and DNS errors, busy services, replies that are cut, huge, or not JSON",
        "one deadline for all; tried again only if nothing was shown; then the local model "
        "answers, with the code of the error",
    ),
    Fault(
        "F78",
        "A user who did not ask for a cloud",
        "no connection is opened; `allow_cloud=False` counts more than any setting",
    ),
    Fault(
        "F79",
        "Keys in settings, logs, errors, `repr`, arguments and dumps",
        "shown nowhere; files of mode 0600; compared in constant time",
    ),
    Fault(
        "F80",
        "Line breaks and control sequences in names and in what a model writes",
        "a message stays one line of the log; a terminal gets none of them",
    ),
)

SERVER = (
    Fault(
        "F81",
        "Pages of other sites, and names that lead here",
        "403; only pages of this machine are let in unless others are named",
    ),
    Fault(
        "F82",
        "Paths out of the page's folder; markup in what a model or document says",
        "404; shown as text, under a strict content policy",
    ),
    Fault(
        "F83",
        "Administration without its key",
        "refused on this machine, too, where there are keys; without any the server listens to "
        "this machine only",
    ),
    Fault(
        "F84",
        "One key's prompts and responses, and another key",
        "never seen; with isolation not even by the time that a shared beginning saves",
    ),
    Fault(
        "F85",
        "Unknown paths, other methods, double and trailing slashes",
        "200, 204, 404 or 405, with an error in JSON",
    ),
)

GROUPS = {
    "Model files": MODEL_FILES,
    "Chat templates": TEMPLATES,
    "Requests": REQUESTS,
    "Audio": AUDIO,
    "Processes and threads": LIFECYCLE,
    "Downloads and caches": DOWNLOADS,
    "Documents": DOCUMENTS,
    "Clouds and secrets": CLOUD,
    "The server": SERVER,
}
FAULTS = {fault.name: fault for faults in GROUPS.values() for fault in faults}
