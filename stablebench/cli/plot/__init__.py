"""Draw figures: what was measured along runs, what a matrix learned, a network over the plane, oscillators."""

from stablebench.cli.plot.decision_boundary import decision_boundary
from stablebench.cli.plot.expressivity import expressivity
from stablebench.cli.plot.leaderboards import curves, length, pairs, profiles, time_to_target
from stablebench.cli.plot.measures import fisher_memory, oscillators, probe, structure
from stablebench.cli.plot.trajectories import trajectories
from stablebench.cli.shared.commands import add_command, subcommands

plot = subcommands("Draw figures of runs.")
_OF_LEADERBOARDS = (curves, length, pairs, profiles, time_to_target, expressivity)
for _function in (*_OF_LEADERBOARDS, probe, structure, oscillators, fisher_memory, trajectories):
    add_command(plot, _function)
add_command(plot, decision_boundary, "decision-boundary")
