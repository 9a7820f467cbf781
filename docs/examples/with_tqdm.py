"""tqdm: a bar around the results; `LambdaPoolExecutor(progress=True)` has one of its own."""

import zlib

from tqdm import tqdm

from lambdafutures import LambdaPoolExecutor


def checksum(number: int) -> int:
    return zlib.crc32(str(number).encode() * 1000)


def main() -> None:
    numbers = range(500)
    with LambdaPoolExecutor() as ex:
        found = list(tqdm(ex.map(checksum, numbers), total=len(numbers), desc="checksums"))
    if found != list(map(checksum, numbers)):
        raise SystemExit("the checksums differ from the serial ones")
    print(f"{len(found)} checksums, as serially")


if __name__ == "__main__":
    main()
