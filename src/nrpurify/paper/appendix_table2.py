"""Appendix table 2: what training costs, from the card of the purifier and the runs before it."""

from __future__ import annotations

from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Finding, Outcome
from nrpurify.paper.provenance import NO_DATA, hashes
from nrpurify.paper.runfolder import run_of
from nrpurify.purifiers import load_purifier


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Read the cost off the purifier's card."""
    purifier = load_purifier(bench.purifier)
    card = purifier.card
    known = card.training
    runs = [*known.get("before", []), known]
    hours = sum(run.get("seconds", 0) for run in runs) / 3600
    steps = [run.get("steps_done", 0) for run in runs]
    here = (
        f"{card.name}: {hours:.1f} hours on {known.get('device', 'a device not told')}, "
        f"{sum(steps) if all(steps) else '?'} steps in {len(runs)} runs, "
        f"{known.get('photos', '?')} unlabeled photos"
    )
    title = "Appendix table 2: cost of training"
    run = run_of(
        bench,
        "appendix-table2",
        title,
        [],
        data=[NO_DATA],
        weights=hashes(bench, {bench.purifier: purifier}),
        settings={"card": known, "purifier": bench.purifier},
    )
    words = {("NRP", "Training Time"): f"{hours:.1f} hours"}
    if known.get("device") == "cpu":
        words["NRP", "No. of GPUs"] = "0 GPUs"
    return Outcome(run, {}, [Finding(experiment.claims[0], here)], words=words)
