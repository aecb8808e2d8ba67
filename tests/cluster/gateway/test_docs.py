"""docs/gateway.md tells of every endpoint; its examples are run by `tests/docs/test_page_runs.py`."""

from parquedb.cluster.gateway import routes
from tests.support.pages import ROOT


def test_every_endpoint_has_an_example_or_a_row() -> None:
    page = (ROOT / "docs" / "gateway.md").read_text().replace("{ns}", "{namespace}")
    for name, path in vars(routes).items():
        if name.isupper() and isinstance(path, str):
            spelt = path.replace("{namespace}", "posts").replace("{id}", "hello")
            known = (path, spelt, path.replace("{namespace}", "cities"), spelt.replace("posts", "copies"))
            assert any(one in page for one in known), path
