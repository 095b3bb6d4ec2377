"""Holds what the program says of captures against their truth."""

import json
import re
import subprocess

SEVERITIES = ["info", "low", "medium", "high", "critical"]
WORDS = ["title", "explanation", "remedy", "not_excluded", "log_lines", "logged_by"]


def judge(program, folder):
    """One line for each capture; 1 where one is judged wrong, or none is there."""
    wrong = judged = 0
    for note in sorted(folder.glob("*.json")):
        truth = json.loads(note.read_text())
        if "rules" not in truth:
            continue
        complaints = complaints_of(truth, events_of(program, note.with_suffix(".pcap")))
        judged, wrong = judged + 1, wrong + bool(complaints)
        print(f"{note.stem}: {'; '.join(complaints) or 'right'}", flush=True)
    print(f"{judged - wrong} of {judged} captures are judged right")
    return 1 if wrong or not judged else 0


def events_of(program, capture):
    run = subprocess.run([program, "--json", capture], capture_output=True, text=True)
    events = [json.loads(line) for line in run.stdout.splitlines()]
    if run.returncode or not events:
        return [{"event_type": "failed", "failed": run.stderr[-300:]}]
    return events


def complaints_of(truth, events):
    """What is wrong with the findings of one capture."""
    failed = [event["failed"] for event in events if event["event_type"] == "failed"]
    if failed:
        return [f"the program failed: {failed}"]
    findings = [event["finding"] for event in events if event["event_type"] == "finding"]
    incidents = {event["incident"]["incident_id"]: event["incident"] for event in events
                 if event["event_type"] == "incident"}
    states = {finding["incident_id"]: incidents.get(finding["incident_id"], {}).get("state", "open")
              for finding in findings}
    above = [finding for finding in findings if finding["severity"] != "info"]
    complaints = []
    # "rule:severity" is allowed up to that severity.
    allowed = dict.fromkeys(truth["rules"], "critical")
    allowed |= {rule: severity or "critical" for rule, _, severity in (it.partition(":") for it in truth["allowed"])}
    for finding in above:
        said = f"{finding['rule']} ({finding['severity']}, {states[finding['incident_id']]}): {finding['title']}"
        if SEVERITIES.index(finding["severity"]) > SEVERITIES.index(allowed.get(finding["rule"], "info")):
            complaints.append(f"ACCUSED: {said}")
        for pattern in truth["never"]:
            if re.search(pattern, finding["title"], re.I):
                complaints.append(f"NEVER {pattern}: {said}")
    if truth["rules"]:
        fit = [finding for finding in findings if finding["rule"] in truth["rules"]]
        right = [finding for finding in fit if not lacking(truth, finding, states)]
        if not fit:
            complaints.append(f"not found: {' or '.join(truth['rules'])}; there are "
                              f"{sorted({finding['rule'] for finding in findings})}")
        elif not right:
            complaints += [f"{finding['rule']}: {finding['title']!r} lacks {lacking(truth, finding, states)}"
                           for finding in fit[:2]]
    if truth["outcome"]:
        complaints += outcomes(truth["outcome"], events)
    return complaints


def lacking(truth, finding, states):
    """What a finding of the right rule does not say."""
    text = "\n".join(json.dumps(finding[key], ensure_ascii=False) for key in WORDS if key in finding)
    named = {*finding["nodes"], *re.findall(r"[\w.:@-]*\w", finding["title"])}
    # Of "node@host" and "address:port" the parts count as well.
    named |= {part for name in named for part in name.split("@")} | {re.sub(r"\]?:\d+$", "", name) for name in named}
    lacks = [who for who in truth["about"] if not named & set(who.split("|"))]
    lacks += [pattern for pattern in truth["says"] if not re.search(pattern, text, re.I)]
    state = states[finding["incident_id"]]
    if truth["state"] and state != truth["state"]:
        lacks.append(f"state {truth['state']}, is {state}")
    return lacks


def outcomes(wanted, events):
    """Sessions between two ends that ended in another way."""
    first, second, *allowed = wanted
    last = {event["session_id"]: event for event in events if event["event_type"] == "session"}
    between = [event["session"]["outcome"] for event in last.values()
               if {event["src_ip"], event["dest_ip"]} == {first, second}]
    if not between:
        return [f"no session between {first} and {second}"]
    return [f"outcome {outcome}, not {'/'.join(allowed)}" for outcome in between if outcome not in allowed][:2]
