"""`parquedb health`: how every owner is, and an exit code for those who only want to know whether all is well."""

import json
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from parquedb.cluster.cli.opening import watched
from parquedb.cluster.cli.states import health_json, show_owners, verdict, worst_of
from parquedb.cluster.cli.terminal import output
from parquedb.cluster.cli.wording import counted
from parquedb.cluster.overview.health import BADNESS


@dataclass
class HealthCommand:
    """One run of the command.

    Attributes:
        url: Where the database is; what the environment says when None.
        strict: Whether a degraded database is one that is not well.
        timeout_s: Seconds for all owners together; a few when None.
        as_json: Whether to print JSON.
        screen: Where it says it.
    """

    url: str | None
    strict: bool = False
    timeout_s: float | None = None
    as_json: bool = False
    screen: Console = field(default_factory=output)

    def run(self) -> bool:
        """Ask, and print what owners say; return whether the database is well.

        Raises:
            RpcUnavailableError: there is no Ray, or no gateway, that could be asked.
            ParqueDBError: the question was refused.
        """
        with watched(self.url) as database:
            health = database.health(timeout_s=self.timeout_s)
        worst = worst_of(health)
        if self.as_json:
            print(json.dumps(health_json(health)), file=self.screen.file)
        else:
            said = f" {database.url}: {counted(len(health.owners), 'owner')}"
            self.screen.print(verdict(worst) + Text(said, style="default"))
            if not health.owners and health.error is None:
                self.screen.print("[dim]nobody uses it in the Ray that was asked[/]")
            show_owners(health, self.screen)
        return BADNESS[worst] <= (0 if self.strict else BADNESS["degraded"])
