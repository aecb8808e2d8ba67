"""`parquedb logs`: what processes have stored of their logs, searched, followed and counted without starting Ray."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from parquedb.cluster.cli.tables import FittedTable
from parquedb.cluster.cli.terminal import output
from parquedb.cluster.cli.times import moment
from parquedb.cluster.cli.wording import clean
from parquedb.errors import ConfigurationError, ErrorCode, InvalidInputError, NotFoundError
from parquedb.observability.worker_logs.queries import LogStatistics
from parquedb.observability.worker_logs.view import WorkerLogsView
from parquedb.settings.environment import load_settings
from parquedb.storage.worker_logs import SETTING, open_worker_logs

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FOUND_LIMIT: Final = 100
FOLLOWED_LIMIT: Final = 10
FOLLOWED_AGE: Final = timedelta(days=1)
"""Events older than this, when following begins, are not looked for: it would list the whole past again and again."""

_STYLES: Final = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold white on red"}
_FACTS: Final = ("namespace", "operation", "request_id", "trace_id", "http_method", "http_status", "http_url")
_LEVEL_WIDTH: Final = 8
_COUNTED_MAX: Final = 20
_NAME_WIDTH: Final = 50
_COUNT_WIDTH: Final = 9
"""Cells up to which tables below each other are made alike."""


@dataclass(frozen=True, kw_only=True)
class LogsOptions:
    """What was typed.

    Attributes:
        url: Where the logs are; what the environment says when None.
        equal: Values that fields of a row must have, by name; None for any.
        level: The least severe level to show.
        grep: Expression to be found in the message or the exception.
        since: An age or a time; see `moment`.
        until: Another one.
        limit: Rows at most.
        follow: Whether to go on with rows as they are stored.
        stats: Whether to show numbers instead of rows.
        stacks: Whether to show where exceptions came from.
        as_json: Whether to print JSON.
    """

    url: str | None = None
    equal: Mapping[str, str | None] = field(default_factory=dict)
    level: str | None = None
    grep: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int | None = None
    follow: bool = False
    stats: bool = False
    stacks: bool = False
    as_json: bool = False


@dataclass
class LogsCommand:
    """One run of the command.

    Attributes:
        url: Where the logs are; what the environment says when None.
        wanted: The rows to show, as a filter of the database.
        since: Events from this time on; None for all.
        until: Events before this time.
        limit: Rows at most; when following, of those that are there already.
        following: Whether to go on with rows as they are stored.
        counting: Whether to show numbers instead of rows.
        stacks: Whether to show where exceptions came from.
        as_json: Whether to print JSON, an object in each line, instead of text for people.
        poll_s: Seconds between looks at the store when following.
        screen: Where rows go.
    """

    url: str | None
    wanted: dict[str, Any] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    limit: int = FOUND_LIMIT
    following: bool = False
    counting: bool = False
    stacks: bool = False
    as_json: bool = False
    poll_s: float = 1.0
    screen: Console = field(default_factory=output)

    @classmethod
    def of(cls, options: "LogsOptions") -> "LogsCommand":
        """Make it from what was typed.

        Raises:
            InvalidInputError: a time is none, or options exclude each other.
        """
        now = datetime.now(UTC)
        since, until = moment(options.since, "--since", now), moment(options.until, "--until", now)
        wanted = _filter_of(options)
        if options.stats and (wanted or options.follow or options.limit):
            raise InvalidInputError("--stats counts all rows of a time: it goes with --since and --until only")
        if options.follow and until is not None:
            raise InvalidInputError("--follow has no end, and --until is one")
        limit = options.limit or (FOLLOWED_LIMIT if options.follow else FOUND_LIMIT)
        return cls(
            options.url, wanted, since, until, limit, options.follow, options.stats, options.stacks, options.as_json
        )

    def run(self) -> bool:
        """Show what was asked for; return whether there was anything.

        Raises:
            ConfigurationError: nobody says where the logs are, or there is no such place.
            NotFoundError: nothing at all is stored there.
            ParqueDBError: a filter is not understood, or storage refused or did not answer.
        """
        with open_worker_logs(self._place(), read_only=True) as view:
            if self.counting:
                found = self._count(view)
            elif self.following:
                found = self._follow(view)
            else:
                rows = view.tail(self.limit, self._filter())
                self._show(rows)
                found = bool(rows)
            if not found and not view.find(limit=1):
                raise NotFoundError(
                    f"no logs are stored in {self._place()}; processes store theirs where {SETTING} says",
                    code=ErrorCode.NOT_FOUND,
                )
        return found

    def _place(self) -> str:
        url = self.url or load_settings(self.url or ".").worker_logs
        if url is None:
            message = f"expected the URL of the logs: as an argument, or in {SETTING}"
            raise ConfigurationError(message, setting=SETTING, code=ErrorCode.MISSING_CONFIG)
        return url

    def _filter(self) -> dict[str, Any]:
        bounds = {"$gte": self.since, "$lt": self.until}
        given = {operator: time for operator, time in bounds.items() if time is not None}
        return self.wanted | ({"event_time": given} if given else {})

    def _follow(self, view: WorkerLogsView) -> bool:
        """Show the last rows, and then each one that is stored, for ever."""
        if self.since is None:
            self.since = datetime.now(UTC) - FOLLOWED_AGE
        # Begun first: what is stored between the two comes twice rather than never, and is told apart by its id.
        feed = view.follow(self._filter(), poll_s=self.poll_s)
        rows = view.tail(self.limit, self._filter())
        self._show(rows)
        shown = {row["id"] for row in rows}
        for row in feed:
            if row["id"] not in shown:
                self._show([row])
        return True

    def _count(self, view: WorkerLogsView) -> bool:
        statistics = view.statistics(self.since, self.until)
        if self.as_json:
            self._print_json(asdict(statistics))
        elif statistics.rows:
            self._show_statistics(statistics)
        return statistics.rows > 0

    def _show(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            if self.as_json:
                self._print_json(row)
            else:
                self.screen.print(line_of(row, stacks=self.stacks))
        self.screen.file.flush()  # Whoever follows through a pipe waits for it.

    def _print_json(self, value: Mapping[str, Any]) -> None:
        print(json.dumps(value, default=datetime.isoformat, ensure_ascii=False), file=self.screen.file)

    def _show_statistics(self, statistics: LogStatistics) -> None:
        first, last = statistics.first, statistics.last
        if first is not None and last is not None:
            self.screen.print(
                f"[bold]{statistics.rows:,} rows[/] from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"
            )
        counted = {name: getattr(statistics, f"by_{name}") for name in ("level", "outcome", "script", "exception")}
        width = max(len(value) for counts in counted.values() for value in [*counts, "exception"])
        for name, counts in counted.items():
            if counts:
                self.screen.print()
                self.screen.print(_table(name, counts, statistics.rows, min(width, _NAME_WIDTH)))


def line_of(row: Mapping[str, Any], *, stacks: bool = False) -> Text:
    """Return a row as people read it: what happened in the first line, an exception below it.

    Args:
        row: As a view gives it.
        stacks: Whether the exception's stack belongs to it.
    """
    level = clean(row["level"])
    line = Text()
    line.append(f"{row['event_time']:%Y-%m-%d %H:%M:%S.%f}"[:-3], style="dim")
    line.append(f" {level:<{_LEVEL_WIDTH}} ", style=_STYLES.get(level))
    line.append(f"{clean(row['script'])} ", style="cyan")
    line.append(clean(row.get("message") or row.get("event") or row["kind"]).replace("\n", "\n    "))
    facts = [f"{name}={clean(str(row[name]))}" for name in _FACTS if row.get(name) is not None]
    if row.get("duration") is not None:
        facts.append(f"duration={row['duration']:.3g}s")
    if facts:
        line.append(f"  {' '.join(facts)}", style="dim")
    if row.get("exception"):
        said = f": {row['exception_message']}" if row.get("exception_message") else ""
        line.append("\n    " + clean(f"{row['exception']}{said}").replace("\n", "\n    "), style="red")
        if stacks and row.get("stack"):
            line.append("\n    " + clean(row["stack"].rstrip()).replace("\n", "\n    "), style="dim")
    return line


def _filter_of(options: LogsOptions) -> dict[str, Any]:
    wanted: dict[str, Any] = {name: value for name, value in options.equal.items() if value is not None}
    if options.level is not None:
        wanted["level"] = {"$in": list(LEVELS[LEVELS.index(options.level) :])}
    if options.grep is not None:
        wanted["$or"] = [{name: {"$regex": options.grep}} for name in ("message", "exception", "exception_message")]
    return wanted


def _table(name: str, counts: Mapping[str, int], rows: int, width: int) -> FittedTable:
    table = FittedTable(name, ">rows", ">share", header_style="dim")
    table.columns[0].min_width, table.columns[1].min_width = width, _COUNT_WIDTH
    for value, count in list(counts.items())[:_COUNTED_MAX]:
        style = _STYLES.get(value, "") if name == "level" else ""
        table.add_row(Text(clean(value), style=style), f"{count:,}", f"{count / rows:.1%}")
    if len(counts) > _COUNTED_MAX:
        rest = sum(list(counts.values())[_COUNTED_MAX:])
        table.add_row(Text(f"{len(counts) - _COUNTED_MAX} others", style="dim"), f"{rest:,}", f"{rest / rows:.1%}")
    return table
