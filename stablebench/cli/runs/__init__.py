"""Pack stored runs into text files, and unpack them."""

from stablebench.cli.runs.pack import pack
from stablebench.cli.runs.unpack import unpack
from stablebench.cli.shared.commands import add_command, subcommands

runs = subcommands("Pack stored runs into text files, and unpack them.")
for _function in (pack, unpack):
    add_command(runs, _function)
