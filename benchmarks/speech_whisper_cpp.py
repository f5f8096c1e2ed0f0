"""Child of the speech benchmarks: transcribe files with whisper.cpp. Prints one line of JSON."""

import argparse
import json
import os
import time

from pywhispercpp.model import Model


def main() -> None:
    """Read the arguments, transcribe, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_intermixed_args()
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
    found = {"seconds": [], "segments": [], "system": Model.system_info()}
    for file in given.files:
        for repeat in range(given.repeats):
            start = time.perf_counter()
            heard = [(s.t0 / 100, s.t1 / 100, s.text) for s in model.transcribe(file)]
            found["seconds"].append(time.perf_counter() - start)
            if repeat == 0:
                found["segments"].append(heard)
    os.write(out, (json.dumps(found) + "\n").encode())


if __name__ == "__main__":
    main()
