"""Appendix table 2: what training costs, from the card of the purifier and the runs before it."""

from __future__ import annotations

from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import SCALES, Experiment, Finding, Outcome, quote
from nrpurify.paper.provenance import NO_DATA, hashes
from nrpurify.paper.runfolder import run_of
from nrpurify.purifiers import load_purifier

CLAIM = "NRP: 28 hours on 4 GPUs, 25,000 unlabeled photos, bound to no task, label or data set"


def _work(bench: Bench) -> Outcome:
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
    return Outcome(run, {}, [Finding(CLAIM, here)], words=words)


EXPERIMENT = Experiment(
    name="appendix-table2",
    where="Appendix table 2",
    title="Cost of training",
    measured=(
        "GPUs and hours to make ResNet152 robust by feature denoising (128, 52) and to train NRP "
        "(4, 28), and what each depends on: feature denoising on task, labels and data set."
    ),
    instead=dict.fromkeys(SCALES, "what the card of --purifier tells: time, device, steps, photos"),
    cost={"smoke": "1 second", "small": "1 second", "full": "1 second"},
    work=_work,
    quoted=(
        *quote("number", ("No. of GPUs",), {"Feature Denoising": (128,), "NRP": (4,)}, "GPUs"),
        *quote("time", ("Training Time",), {"Feature Denoising": (52,), "NRP": (28,)}, "hours"),
    ),
    claims=(CLAIM,),
)
