"""Parts of a Grafana dashboard as Grafana's JSON wants them: panels, rows and variables, knowing nothing of ParqueDB.

Source:
    Grafana, "Dashboard JSON model", schema version 39 (Grafana 10.4 and newer).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

COLUMNS: Final = 24
"""Width of a dashboard, in columns."""

Json = dict[str, Any]

_SOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
_COLOURS: Final = ("green", "orange", "red")


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression of a panel.

    Attributes:
        expr: May use the dashboard's variables and `$__rate_interval`.
        legend: How each of its series is called, such as `{{namespace}}`.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: Above it.
        description: Shown on the little i.
        queries: At most 26.
        unit: Grafana's id of a unit: `s`, `reqps`, `percentunit`, `bytes`, `short`, ...
        kind: How it is drawn.
        thresholds: Where it turns orange and then red; one alone is red. Falling ones, where less is worse.
        width: Of 24 columns.
        height: In rows of about 30 pixels.
        maximum: Upper end of the axis, where there is a natural one.
    """

    title: str
    description: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Literal["timeseries", "stat", "heatmap", "state-timeline"] = "timeseries"
    thresholds: Sequence[float] = ()
    width: int = 8
    height: int = 8
    maximum: float | None = None

    def json(self, number: int, x: int, y: int) -> Json:
        """Return it with its id, at a place."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": _SOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": _OPTIONS[self.kind],
            "targets": [
                {
                    "refId": chr(ord("A") + place),
                    "datasource": _SOURCE,
                    "expr": query.expr,
                    "legendFormat": query.legend or "__auto",
                    "format": "heatmap" if self.kind == "heatmap" else "time_series",
                    "range": True,
                }
                for place, query in enumerate(self.queries)
            ],
        }

    def _defaults(self) -> Json:
        defaults: Json = {"unit": self.unit, "min": 0, "thresholds": self._thresholds()}
        if self.maximum is not None:
            defaults["max"] = self.maximum
        if self.kind == "timeseries":
            dashed = {"mode": "dashed" if self.thresholds else "off"}
            defaults["custom"] = {"fillOpacity": 8, "showPoints": "never", "thresholdsStyle": dashed}
        return defaults

    def _thresholds(self) -> Json:
        colours: tuple[str, ...] = _COLOURS if len(self.thresholds) > 1 else ("green", "red")
        bounds = list(self.thresholds)
        if bounds != sorted(bounds):
            # Grafana's steps rise; where less is worse the colours fall instead.
            bounds, colours = sorted(bounds), tuple(reversed(colours))
        steps = zip((None, *bounds), colours, strict=False)
        return {"mode": "absolute", "steps": [{"color": colour, "value": bound} for bound, colour in steps]}


_LEGEND: Final[Json] = {"displayMode": "list", "placement": "bottom", "showLegend": True}
_OPTIONS: Final[dict[str, Json]] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "stat": {
        "colorMode": "value",
        "graphMode": "area",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    },
    "heatmap": {"calculate": False, "yAxis": {"unit": "s"}, "legend": {"show": True}, "tooltip": {"show": True}},
    "state-timeline": {"legend": _LEGEND, "showValue": "never", "mergeValues": True},
}


def placed(rows: Sequence[tuple[str, Sequence[Panel]]]) -> list[Json]:
    """Lay panels out from left to right under the titles of their rows; return all of them in order."""
    laid: list[Json] = []
    y = 0
    for title, panels in rows:
        row = {"type": "row", "title": title, "collapsed": False, "panels": []}
        laid.append({"id": len(laid) + 1, **row, "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y}})
        y += 1
        x = height = 0
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            laid.append(panel.json(len(laid) + 1, x, y))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return laid


def datasource_variable() -> Json:
    """Return the variable `$datasource`, which every panel reads from: a Prometheus of the reader's choice."""
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}


def label_variable(name: str, label: str, selector: str) -> Json:
    """Return a variable with the values of the label `name` of some series; any number of them, all at first."""
    query = f"label_values({selector}, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def choice_variable(name: str, label: str, values: Sequence[str]) -> Json:
    """Return a variable with fixed values, the first one chosen."""
    options = [{"selected": place == 0, "text": value, "value": value} for place, value in enumerate(values)]
    return {
        "name": name,
        "label": label,
        "type": "custom",
        "query": ",".join(values),
        "options": options,
        "current": options[0],
    }
