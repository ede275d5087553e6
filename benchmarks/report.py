"""Results: what was measured as data, as JSON for machines and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.load import Tally

NONE = "-"


@dataclass(frozen=True)
class Side:
    """One of two that are compared.

    Attributes:
        rounds: rates of each round, per second of the clock; the headline is their median.
        per_cpu_second: per second of the subject's CPU time; what others do on the machine hardly moves it.
        cores: of the subject's core and of the generator's, how much was used.
    """

    name: str
    rounds: tuple[float, ...]
    per_cpu_second: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    cores: float | None = None
    generator_cores: float | None = None
    count: int = 0
    faults: int = 0

    @property
    def per_second(self) -> float:
        return median(self.rounds)


@dataclass(frozen=True)
class Comparison:
    """We against a peer; ``target`` is the least ratio that is promised, None where none is."""

    what: str
    ours: Side
    peer: Side
    target: float | None = None

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: the two of a round ran one after the other."""
        return median(a / b for a, b in zip(self.ours.rounds, self.peer.rounds, strict=True))

    @property
    def ratio_of_cpu(self) -> float | None:
        if not self.ours.per_cpu_second or not self.peer.per_cpu_second:
            return None
        return self.ours.per_cpu_second / self.peer.per_cpu_second

    @property
    def verdict(self) -> str:
        if self.ours.faults or self.peer.faults:
            return "void"
        if self.target is None:
            return NONE
        return "holds" if self.ratio >= self.target else "misses"


@dataclass(frozen=True)
class Bound:
    """A value of ours that must stay below ``at_most``."""

    what: str
    value: float
    unit: str
    at_most: float | None = None

    @property
    def verdict(self) -> str:
        if self.at_most is None:
            return NONE
        return "holds" if self.value <= self.at_most else "misses"


@dataclass(frozen=True)
class Growth:
    """How something grows with the work: a table of numbers, the first columns of which say what and how much."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str | float | None, ...]] = field(default_factory=list)


@dataclass
class Figure:
    """All that one benchmark found."""

    name: str
    title: str
    comparisons: list[Comparison] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)
    growths: list[Growth] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    """Conditions of the measurement that were not met; one makes the bounds void."""

    @property
    def void(self) -> bool:
        return bool(self.unreached) or any(comparison.verdict == "void" for comparison in self.comparisons)

    def document(self, machine: dict[str, str], load: float, *, quick: bool) -> dict[str, Any]:
        """Return the figure as JSON."""
        return {
            "figure": self.name,
            "title": self.title,
            "taken": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": quick,
            "loadBefore": round(load, 2),
            "machine": machine,
            "comparisons": [
                _rounded(asdict(c) | {"ratio": c.ratio, "ratioOfCpu": c.ratio_of_cpu, "verdict": c.verdict})
                for c in self.comparisons
            ],
            "bounds": [_rounded(asdict(b) | {"verdict": "void" if self.unreached else b.verdict}) for b in self.bounds],
            "growths": [_rounded(asdict(growth)) for growth in self.growths],
            "notes": self.notes + [f"Not reached: {condition}." for condition in self.unreached],
        }


def side(name: str, tallies: Sequence[Tally]) -> Side:
    """Return what several runs of one side came to."""
    latencies = sorted(latency for tally in tallies for latency in tally.latencies)
    cpu = sum(tally.subject_cpu for tally in tallies)
    seconds = sum(tally.seconds for tally in tallies)
    return Side(
        name=name,
        rounds=tuple(tally.per_second for tally in tallies),
        per_cpu_second=sum(tally.answered for tally in tallies) / cpu if cpu else None,
        p50_ms=percentile(latencies, 0.50) * 1000,
        p99_ms=percentile(latencies, 0.99) * 1000,
        cores=cpu / seconds,
        generator_cores=sum(tally.generator_cpu for tally in tallies) / seconds,
        count=len(latencies),
        faults=sum(t.not_2xx + t.wrong + t.broken for t in tallies) + sum(not t.answered for t in tallies),
    )


def worked(name: str, taken: Sequence[tuple[int, float, float]]) -> Side:
    """Return what several pieces of work came to, each given as count, seconds and seconds of CPU."""
    cpu, seconds = sum(cpu for _, _, cpu in taken), sum(seconds for _, seconds, _ in taken)
    count = sum(count for count, _, _ in taken)
    rounds = tuple(count / seconds for count, seconds, _ in taken)
    return Side(name, rounds, per_cpu_second=count / cpu if cpu else None, cores=cpu / seconds, count=count)


def percentile(ordered: Sequence[float], part: float) -> float:
    """Return the nearest-rank percentile of values in ascending order; 0 of none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def write(folder: Path, document: dict[str, Any]) -> None:
    """Keep a figure, and render the table of all that are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (folder / f"{document['figure']}.json").write_text(text, encoding="utf-8")
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    (folder / "README.md").write_text("\n".join(_page(kept)) + "\n", encoding="utf-8")


def _page(documents: Iterable[dict[str, Any]]) -> Iterable[str]:
    yield "# Results of `make bench`"
    yield ""
    yield "Written by `python -m benchmarks`; how each figure is taken is in `docs/benchmarks.md`."
    for document in documents:
        yield ""
        yield from table(document)


def table(document: dict[str, Any]) -> Iterable[str]:
    """Yield the lines of a figure in Markdown."""
    machine = document["machine"]
    yield f"## {document['title']}"
    yield ""
    yield (
        f"{document['taken'][:16].replace('T', ' ')} UTC, {machine['cores']} cores of {machine['cpu']}, Python "
        f"{machine['python']}, Node {machine['node']}; load before: {document['loadBefore']}"
        f"{'; a quick run' if document['quick'] else ''}"
    )
    yield ""
    if document["comparisons"]:
        yield "| what | ratio | target | | by CPU | who | /s | /CPU s | p50 ms | p99 ms | CPU | generator | faults |"
        yield "| --- | ---: | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for comparison in document["comparisons"]:
        target = NONE if comparison["target"] is None else f"{comparison['target']:g}x"
        by_cpu = NONE if comparison["ratioOfCpu"] is None else f"{comparison['ratioOfCpu']:.2f}x"
        yield (
            f"| {comparison['what']} | **{comparison['ratio']:.2f}x** | {target} | {comparison['verdict']} | {by_cpu} "
            f"| {_cells(comparison['ours'])} |"
        )
        yield f"| | | | | | {_cells(comparison['peer'])} |"
    if document["bounds"]:
        yield ""
        yield "| what | value | at most | |"
        yield "| --- | ---: | ---: | --- |"
    for bound in document["bounds"]:
        limit = NONE if bound["at_most"] is None else f"{bound['at_most']:g} {bound['unit']}"
        yield f"| {bound['what']} | **{bound['value']:g} {bound['unit']}** | {limit} | {bound['verdict']} |"
    for growth in document.get("growths", ()):
        yield from _growth(growth)
    if document["notes"]:
        yield ""
        yield from (f"- {note}" for note in document["notes"])


def _growth(growth: dict[str, Any]) -> Iterable[str]:
    yield ""
    yield f"### {growth['title']}"
    yield ""
    yield f"| {' | '.join(growth['columns'])} |"
    yield f"|{' --- |' + ' ---: |' * (len(growth['columns']) - 1)}"
    for row in growth["rows"]:
        yield f"| {' | '.join(_cell(value) for value in row)} |"


def _cell(value: str | float | None) -> str:
    if value is None:
        return NONE
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.2f}"


def _cells(one: dict[str, Any]) -> str:
    rate = median(one["rounds"])

    def number(name: str, form: str = ".2f") -> str:
        return NONE if one[name] is None else format(one[name], form)

    return " | ".join(
        (
            one["name"],
            f"{rate:,.0f}",
            number("per_cpu_second", ",.0f"),
            number("p50_ms"),
            number("p99_ms"),
            number("cores"),
            number("generator_cores"),
            str(one["faults"]),
        )
    )
