"""Child of the speech benchmarks: transcribe files with whisper.cpp. Prints one line of JSON."""

import json
import os

import speech_child
from pywhispercpp.model import Model


def main() -> None:
    """Read the arguments, transcribe, print."""
    given = speech_child.parser(__doc__).parse_intermixed_args()
    out, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # it talks
    model = Model(
        given.model,
        params_sampling_strategy=int(given.beams > 1),
        redirect_whispercpp_logs_to=None,
        n_threads=given.threads,
        language="en",
        print_progress=False,
        print_realtime=False,
        **(
            {"beam_search": {"beam_size": given.beams, "patience": -1.0}} if given.beams > 1 else {}
        ),
    )
    seconds, segments = speech_child.timed(
        given.files,
        given.repeats,
        lambda file: [(s.t0 / 100, s.t1 / 100, s.text) for s in model.transcribe(file)],
    )
    found = {"seconds": seconds, "segments": segments, "system": Model.system_info()}
    os.write(out, (json.dumps(found) + "\n").encode())


if __name__ == "__main__":
    main()
