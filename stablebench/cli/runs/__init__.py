"""List, remove, move, measure, label or compare stored runs; pack them into text files, and unpack them."""

from stablebench.cli.runs.housekeeping import diff, du, label, list_, mv, rm
from stablebench.cli.runs.pack import pack
from stablebench.cli.runs.unpack import unpack
from stablebench.cli.shared.commands import add_command, subcommands

runs = subcommands("List, remove, move, measure, label or compare stored runs; pack and unpack them.")
add_command(runs, list_, "list")
for _function in (rm, mv, du, label, diff, pack, unpack):
    add_command(runs, _function)
