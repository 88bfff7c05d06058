from scaler.cli import app
from scaler.cli.reference import to_markdown
from tests.unit.test_docs import ROOT


def test_the_command_page_is_that_of_the_commands() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == to_markdown(app)
