"""What an executor's workers have beyond what every worker has, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lambdafutures._environment.modules import BundledModule


@dataclass(frozen=True, slots=True)
class Report:
    """Tell what travelled.

    Args:
        modules: The user's own modules, and files that were named.
        left_out: What lies among them and does not travel, each with the reason.
        packages: Version of each package that came along, by its name.
        packed_bytes: Length of all that a cold worker fetches.
    """

    modules: tuple[BundledModule, ...] = ()
    left_out: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    packed_bytes: int = 0

    def __str__(self) -> str:
        lines = [
            f"{each.name}: {each.files} files, {each.size_bytes / 1e3:,.1f} kB, from {each.path} "
            f"({each.reason})"
            for each in self.modules
        ]
        lines += [f"left out: {text}" for text in self.left_out]
        if self.packages:
            named = (f"{name} {version}" for name, version in sorted(self.packages.items()))
            lines.append(f"packages: {', '.join(named)}")
        if not lines:
            return "nothing travels"
        lines.append(f"{self.packed_bytes / 1e6:,.2f} MB in all, compressed")
        return "\n".join(lines)
