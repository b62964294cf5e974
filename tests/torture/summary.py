"""Sum a torture up: what was carried out, what was broken, what was found."""

from __future__ import annotations

from collections import Counter
from statistics import median

from torture.history import Fault, Invoke, Ok

_FINDINGS_SHOWN = 20


def summarize(history, observer_memory):
    """Return the figures of a history, for JSON."""
    states, outcomes, verdicts = Counter(), Counter(), Counter()
    lines = size = logs = 0
    for run in history.dump:
        states[run.state] += 1
        for attempt in run.attempts:
            outcomes[attempt.outcome] += 1
            verdicts[attempt.verdict.partition("(")[0]] += bool(attempt.verdict)
            if attempt.end:
                logs += 1
                lines += attempt.end.lines
                size += attempt.end.size
    faults = Counter(f.kind for f in history.faults if isinstance(f, Fault) and f.what == "start")
    asked = Counter(record.verb for record in history.clients if isinstance(record, Invoke))
    answered = sum(isinstance(record, Ok) for record in history.clients)
    return {
        "runs": sum(states.values()),
        "states": dict(states.most_common()),
        "attempts": sum(outcomes.values()),
        "outcomes": dict(outcomes.most_common()),
        "verdicts": dict(verdicts.most_common()),
        "faults": sum(faults.values()),
        "faults_by_kind": dict(faults.most_common()),
        "questions": dict(asked.most_common()),
        "answered_ok": answered,
        "logs": {"attempts": logs, "lines": lines, "bytes": size},
        "supervisor_memory": _memory(observer_memory),
    }


def _memory(samples):
    """The median and the highest resident memory of supervisors in each quarter of the time."""
    if not samples:
        return {}
    last = max(seconds for seconds, _, _ in samples)
    quarters = [[], [], [], []]
    for seconds, age, resident in samples:
        if age >= 5:
            quarters[min(3, int(4 * seconds / (last or 1)))].append(resident)
    return {
        "median_by_quarter": [int(median(quarter)) if quarter else 0 for quarter in quarters],
        "highest": max(resident for _, _, resident in samples),
    }


def as_text(summary):
    """Return the summary for people."""
    rows = {
        "runs": f"{summary['runs']:,} ({_list(summary['states'])})",
        "attempts": f"{summary['attempts']:,} ({_list(summary['outcomes'])})",
        "deaths": _list(summary["verdicts"]),
        "faults": f"{summary['faults']:,} ({_list(summary['faults_by_kind'])})",
        "questions": _list(summary["questions"]),
        "logs": "{attempts:,} attempts, {lines:,} lines, {bytes:,} bytes".format(**summary["logs"]),
        "memory": _megabytes(summary["supervisor_memory"]),
        "time": _list(summary["seconds"]) + " s",
        "findings": str(len(summary["findings"])),
    }
    lines = [f"{name:10} {text}" for name, text in rows.items()]
    shown = [f"  {finding['sentence']}" for finding in summary["findings"][:_FINDINGS_SHOWN]]
    return "\n".join(lines + shown)


def _list(counts):
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _megabytes(memory):
    if not memory:
        return "no samples"
    quarters = ", ".join(f"{resident / 1e6:.1f}" for resident in memory["median_by_quarter"])
    return f"supervisors, median by quarter {quarters} MB, highest {memory['highest'] / 1e6:.1f} MB"
