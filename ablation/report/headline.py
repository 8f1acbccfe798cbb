"""What the study found, in plain words, and what that does and does not mean."""

from __future__ import annotations

from collections import Counter

from ablation.ranking import CLEAR, NO_EVIDENCE, RANKED_BY, WEAK, Entry, Ranking
from ablation.report.blocks import Block, Bullets, Text
from ablation.report.figures import decimals, interval, score
from ablation.statistics import COARSE, margin
from ablation.view import FAILED, FINISHED, RUNNING, WAITING, StudyView
from utils.console.wording import counted


def headline(study: StudyView, ranking: Ranking) -> list[Block]:
    """The answer, how sure it is, and how far the study has come."""
    best = ranking.best
    if best is None:
        return [Text("No run has finished yet: there is nothing to compare.", "lead"), *_progress(study)]
    digits = decimals(ranking)
    found = f"{best.cell.label} with a mean {RANKED_BY} of {score(best.summary.mean, digits)} over {_seeds(best)}"
    if best.summary.interval:
        found += f" (95 % interval {interval(best.summary.interval, digits)})"
    others = [entry for entry in ranking.entries if entry.difference]
    if not others:
        alone = f"Finished so far: {found}. There is no other cell to compare it with."
        return [Text(alone, "lead"), *_progress(study)]
    where = "Highest" if best is ranking.entries[0] else "Highest of the cells with two finished seeds or more"
    return [Text(f"{where}: {found}.", "lead"), Text(_sureness(others)), *_progress(study)]


def _seeds(entry: Entry) -> str:
    names = ", ".join(entry.cell.values())
    return f"{counted(entry.summary.n, 'seed')} ({names})" if entry.summary.n <= COARSE else f"{entry.summary.n} seeds"


def _sureness(others: list[Entry]) -> str:
    verdicts = Counter(entry.verdict for entry in others)
    lower, weak, open_ = verdicts[CLEAR[-1]], verdicts[WEAK[-1]], verdicts[NO_EVIDENCE]
    total = counted(len(others), "other cell")
    none = "The 1 other cell does not share" if len(others) == 1 else f"None of the {total} shares"
    if not any(entry.difference.interval for entry in others if entry.difference):
        return f"How sure: not at all. {none} two finished seeds with it, so the order may be chance."
    if lower == len(others):
        all_ = "the 1 other cell is" if len(others) == 1 else f"all of the {total} are"
        return f"How sure: {all_} lower by more than the noise between seeds explains."
    parts = []
    if lower:
        parts.append(f"{lower} {_are(lower)} lower by more than the noise between seeds explains")
    if weak:
        parts.append(f"for {weak} the evidence that {_are(weak, 'it is', 'they are')} lower is weak and may be chance")
    if open_:
        parts.append(f"for {open_} there is no evidence of a difference")
    rest = len(others) - lower - weak - open_
    if rest:
        parts.append(f"{rest} {_are(rest)} higher on the seeds in common")
    text = f"How sure: of the {total}, {'; '.join(parts)}."
    return text if lower + weak else f"{text} The study does not say which cell is best."


def _are(number: int, one: str = "is", many: str = "are") -> str:
    return one if number == 1 else many


def _progress(study: StudyView) -> list[Block]:
    states = Counter(run.status for run in study.runs)
    if states[FINISHED] == len(study.runs):
        whole = f"All {len(study.runs)} runs" if len(study.runs) > 1 else "The 1 run"
        return [Text(f"{whole} finished.", "small")]
    rest = ", ".join(f"{states[state]} {state}" for state in (FINISHED, RUNNING, WAITING, FAILED) if states[state])
    text = f"{counted(len(study.runs), 'run')}: {rest}."
    if states[RUNNING] or states[WAITING]:
        return [Text(f"The study is not complete. {text} What follows rests on finished runs and may change.", "warn")]
    return [Text(f"{text} Means are of the finished runs only; see the failures below.", "warn")]


def caveats(ranking: Ranking) -> Bullets:
    """What the intervals and verdicts cover, in sentences; with the figures of this study."""
    most = max((entry.summary.n for entry in ranking.entries), default=0)
    items = [
        "Intervals are 95 % bootstrap intervals (percentiles of 10 000 resamples) of the mean over seeds. They cover"
        " what changing the seed changes: initial weights, order and augmentation of the pictures. They do not cover"
        " other training or validation pictures, other settings, or longer training."
    ]
    if most == 1:
        items.append("Every cell has one finished seed: no interval can be given, and a difference may be chance.")
    elif most:
        items.append(_coarse(most))
    if len(ranking.entries) == 1:
        items.append("The validation pictures choose the best epoch of each run: on new pictures expect less.")
        return Bullets(tuple(items))
    items.append(
        "The validation pictures choose the best epoch of each run and the best of"
        f" {counted(len(ranking.entries), 'cell')}, so the figure of the winner is flattered twice (the winner's"
        " curse):"
        " on new pictures and new seeds expect less."
        " To quote it, run it again with seeds that took no part in the choice, on pictures that took no part either."
    )
    items.append(
        "Differences are taken seed by seed, over the seeds that both cells finished. Verdicts: “no evidence of a"
        " difference” where the bootstrap interval of the mean difference holds zero, or there are fewer than two"
        " pairs; “lower” where that interval and Student's both exclude zero and the difference passes the"
        " margin below; “weak evidence” in between, which chance alone gives often: among 20 equal cells with three"
        " seeds, to about half of them. No evidence of a difference is not evidence of equality."
    )
    if ranking.noise and most > 1:
        digits = decimals(ranking)
        sd, size = score(ranking.noise.sd, digits), score(margin(ranking.noise, most), digits)
        items.append(
            f"The noise of one run, pooled over {ranking.noise.cells} cells, is {sd} (standard"
            f" deviation, {counted(ranking.noise.freedom, 'degree')} of freedom). With {most} seeds a cell, two of"
            f" {ranking.noise.cells} cells must differ by {size} to be told apart whichever they are (Tukey's"
            " margin, which allows for picking the best)."
        )
    return Bullets(tuple(items))


def _coarse(most: int) -> str:
    held = {2: "half", 3: "about three quarters", 4: "about 80 %"}.get(most)
    if held:
        return (
            f"With {most} seeds such an interval is coarse and too narrow: of 95 % intervals from {most} values, only"
            f" {held} hold the true mean. Student's interval, given below as a check, is right if the noise is normal."
        )
    return (
        "Student's interval is given below as a check; cells with under five seeds have coarse, too narrow intervals."
    )
