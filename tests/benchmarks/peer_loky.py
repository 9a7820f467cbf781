"""loky on this machine; run by the peers' own Python. Prints one line of JSON."""

import json
import sys
import time

import loky


def main():
    calls, workers = int(sys.argv[1]), int(sys.argv[2])
    with loky.ProcessPoolExecutor(workers) as ex:
        list(ex.map(abs, range(100)))
        began = time.perf_counter()
        assert sum(ex.map(abs, range(calls))) == calls * (calls - 1) // 2
        print(json.dumps({"calls_per_s": calls / (time.perf_counter() - began)}))


if __name__ == "__main__":
    main()
