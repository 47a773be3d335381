"""What `speed` says while it measures."""

from stablebench.cli.ui.bars import Bars


class SpeedProgress(Bars):
    """Context that shows which pass of which model is running.

    No thread draws it: that would take time from what is timed.

    Args:
        quiet: Say nothing.
    """

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet, passing=True, by_itself=False)

    def start(self, label: str) -> None:
        """Say what is measured from here on."""
        self.add("pass", label)
        if not self.live:
            self.say(label)

    def watch(self, what: str, done: int, total: int) -> None:
        """Show the pass that begins."""
        self.move("pass", done, total, lambda _: f"{what}, {done}/{total} passes")
