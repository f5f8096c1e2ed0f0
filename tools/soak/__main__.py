"""Hours of work condensed, with a disk that fails, children that are killed, a clock that steps.

python tools/soak                              100 rounds; an hour
python tools/soak --rounds 4 --requests 480 --loads 20 --indexings 8 --transcriptions 8 \
    --seconds 20 --faults 2 --idle 100         a short form; the suite runs one
python tools/soak --draw docs/pictures/soak.svg    a picture of what was measured

Two processes, one that uses the library and one that serves, do all of their work in each round:
100,000 requests by four doors (flat functions, typed model, coroutines, HTTP), 1,000 loads by each
process, 500 indexings of a folder, 200 transcriptions, an hour of sound as it comes. Files below
their folder fail (`faults.c`), clocks step, readers, workers and checkers are killed, memory is
limited. What fails must say so by a typed error that names the file, what is asked again must be
answered as the first time, and what lies on the disk must be whole. After each round memory,
descriptors, threads and children are written down, a JSON object a line. Exit status 1 where the
last tenth of the rounds has a twentieth more of anything than the second, or anything was wrong.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from soak.run import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
