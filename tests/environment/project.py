"""A project as people have them, written into a folder: packages, data, neighbours, a namespace."""

from __future__ import annotations

import textwrap
from pathlib import Path

FILES = {
    # A package with data, a dataclass, an enum, an exception of its own, and a lazy import.
    "fleet/__init__.py": """
        from .ships import Kind, Ship, Sunk
    """,
    "fleet/ships.py": """
        from dataclasses import dataclass
        from enum import Enum

        import harbour


        class Kind(Enum):
            SLOOP = "sloop"
            BRIG = "brig"


        class Sunk(Exception):
            def __init__(self, ship, depth_m):
                super().__init__(ship, depth_m)
                self.ship = ship
                self.depth_m = depth_m


        @dataclass
        class Ship:
            name: str
            kind: Kind
            masts: int = 0

            def rigged(self):
                from fleet import rigging

                return Ship(self.name, self.kind, rigging.masts(self.kind))


        def sail(ship):
            if ship.kind is Kind.BRIG and harbour.is_stormy():
                raise Sunk(ship, 40)
            return ship.rigged()
    """,
    "fleet/rigging.py": """
        import json
        from importlib import resources
        from pathlib import Path

        MASTS = json.loads((Path(__file__).parent / "data" / "masts.json").read_text())


        def masts(kind):
            same = json.loads(resources.files("fleet").joinpath("data/masts.json").read_text())
            assert same == MASTS
            return MASTS[kind.value]
    """,
    "fleet/data/masts.json": '{"sloop": 1, "brig": 2}',
    # A neighbour, which the package imports.
    "harbour.py": """
        def is_stormy():
            return True
    """,
    # Imported inside a function of the script only.
    "pilot.py": """
        def advice():
            return "steady"
    """,
    # A package in a namespace: there is no ocean/__init__.py.
    "ocean/north/__init__.py": "DEPTH_M = 3800\n",
    "ocean/north/currents.py": """
        from . import DEPTH_M


        class Current:
            def __init__(self, speed):
                self.speed = speed

            def energy(self):
                return self.speed**2 * DEPTH_M
    """,
    "unrelated.py": "raise AssertionError('nobody imports this')\n",
}

NAMES = frozenset(name.partition("/")[0].removesuffix(".py") for name in FILES)

# Run from another folder, as a plain script; the classes are those of the client throughout.
SCRIPT = """
    import json
    import sys

    from lambdafutures import LambdaPoolExecutor

    project, options = sys.argv[1], json.loads(sys.argv[2])
    sys.path.append(project)

    from fleet import Kind, Ship, Sunk
    from fleet.ships import sail
    from ocean.north.currents import Current


    class Log(list):
        pass


    def voyage(ship):
        import pilot

        log = Log([sail(ship), pilot.advice()])
        return log


    if __name__ == "__main__":
        with LambdaPoolExecutor(2, **options) as ex:
            ship = ex.submit(sail, Ship("Swallow", Kind.SLOOP)).result()
            assert type(ship) is Ship and ship == Ship("Swallow", Kind.SLOOP, 1), ship
            assert ship.kind is Kind.SLOOP
            try:
                ex.submit(sail, Ship("Amazon", Kind.BRIG)).result()
            except Sunk as sunk:
                assert type(sunk.ship) is Ship and sunk.depth_m == 40
            else:
                raise AssertionError("it must sink")
            log = ex.submit(voyage, Ship("Titmouse", Kind.SLOOP)).result()
            assert type(log) is Log and type(log[0]) is Ship and log[1] == "steady"
            # What only the arguments reach.
            energies = list(ex.map(lambda current: current.energy(), map(Current, range(3))))
            assert energies == [0, 3800, 15200], energies
            kinds = list(ex.map(Kind, ["sloop", "brig"]))
            assert kinds[0] is Kind.SLOOP and kinds[1] is Kind.BRIG
            print(ex.environment)
"""


def write(folder: Path, files: dict[str, str] = FILES) -> Path:
    """Write files into a folder and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    return folder
