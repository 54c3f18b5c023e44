# SPDX-License-Identifier: Apache-2.0
"""The radio fails at every step of a dialogue, and in every way that BlueZ 5.66 shows.

A visit with an unlock and a new list is walked through step by step: connecting, resolving, each packet,
each answer. At each the link ends, the step fails, answers are garbled, the lock hangs, or is out of reach.
Whatever happened, a bolt moves at most once per authorization, the outcome is what the bolt did, the list
arrives in the end, other locks go on, and the door opens for whoever asks again.
"""

import time

import wire
from air import Air
from harness import wait_for

LOCKS = {"gw-1": ["lock-1", "lock-2", "lock-3"]}
SMALL, MIDDLE = 6000, 80000  # entries: lists of a few frames, and of 40


def went(air, cti, event):
    """Does what the gateway said agree with what the bolt did? A text, or None."""
    moved = air.lock_report(event["lock"])["ctis"].get(cti, 0)
    if moved > 1:
        return f"{cti} moved the bolt {moved} times"
    if event["type"] != "authorization.outcome":
        return f"{cti} moved the bolt, though {event}" if moved else None
    if event["outcome"] == "done" and not moved:
        return f"{cti} is done, and the bolt did not move"
    if event["outcome"] == "failed" and moved and "receipt" not in event:
        return f"{cti} failed, and the bolt moved"
    return None


def visit(air, lock, row, what, entries, between=None):
    """An unlock and a new list, over whatever the air does to them."""
    cti = air.order(lock)
    air.new_list(entries, seed=air.version)
    if between:
        between()
    event = air.told(cti)
    text = went(air, cti, event)
    if text:
        row.violation(f"{what}: {text}")
    return event


def walk(ordeal, air, row, action, steps, act):
    """The fault at each of these steps, until one is beyond the visit's end."""
    row.reached, row.begun = 0, time.monotonic()
    lock = "lock-1"
    for step in steps:
        if row.tries and ordeal.over():
            return
        what = f"{action} at step {step}"
        air.idle(lock)
        air.fault = (step, action)
        air.trip(lock, step, action)
        act(air, lock, row, what, lambda what=what: other_goes_on(air, row, action, what))
        wait_for("the fault, or the visit's end", lambda: over(air, lock), 120)
        count, sprung = air.tripped(lock)
        if sprung and action in ("silent", "vanish"):
            wait_for("the agent lets go", lambda: air.stats(lock)["connects"] == air.stats(lock)["disconnects"], 60)
        air.mend(lock)
        wait_for("the visit's work is done", lambda: done(air, lock), 120)
        air.judge_now(row, what)
        row.tried()
        row.reached = max(row.reached, step if sprung else count)
        ordeal.log(f"{time.monotonic() - row.begun:.1f} s: {what}: {'sprung' if sprung else 'the end'} of {count}")
        if not sprung:
            return


def done(air, lock):
    """It holds the newest list, and what its log has is known."""
    report, shown = air.lock_report(lock), air.recorder.lock(air.gateway_of(lock), lock)
    return report["applied"].get("staff") == air.version and shown["n"] == report["n"]


def over(air, lock):
    return air.tripped(lock)[1] or (done(air, lock) and not air.lock_report(lock)["connected"])


def other_goes_on(air, row, action, what):
    """A lock that hangs is no reason for another to wait."""
    if action not in ("silent", "vanish"):
        return
    text = air.opens("lock-2")
    if text:
        row.violation(f"{what}: {text}")


def unlock_and_list(air, lock, row, what, between):
    visit(air, lock, row, what, SMALL, between)


def log_and_list(air, lock, row, what, between):
    """Somebody opened at the door while the gateway did not listen: there is a log to be read, too."""
    hci = air.adapter("gw-1")
    air.radio_control(f"trip {air.adapter(lock)} 0 off")
    air.radio_control(f"scan-silent {hci} on")
    phone = wire.Key()
    air.door(phone, air.city.at_door(lock, phone, 10, int(time.time())), lock)
    air.idle(lock)
    air.trip(lock, *air.fault)
    air.radio_control(f"scan-silent {hci} off")
    air.new_list(SMALL, seed=air.version)
    between()


def walks(ordeal, air):
    quick, pick = ordeal.quick, ordeal.random
    plan = [
        ("drop", "radio: the link ends at a step of a visit", [pick.randrange(1, 9)] if quick else range(1, 400)),
        ("error", "radio: a step of a visit fails", [pick.randrange(1, 9)] if quick else range(1, 400)),
        ("garble", "radio: bytes at a step of a visit are garbled", [pick.randrange(3, 9)] if quick else range(1, 400)),
    ]
    if not quick:
        some = sorted(pick.sample(range(1, 24), 6))
        plan += [("silent", "radio: the lock hangs from a step on", some),
                 ("vanish", "radio: the lock is out of range from a step on", some)]
    for action, name, steps in plan:
        row = ordeal.row(name)
        for act in [pick.choice((unlock_and_list, log_and_list))] if quick else [unlock_and_list, log_and_list]:
            walk(ordeal, air, row, action, steps, act)
            row.note(f"{act.__name__}: {row.reached} steps")
        air.judge(row, action)
        text = air.opens("lock-1")
        if text:
            row.violation(f"{action}: {text}")


def transfers(ordeal, air):
    """Out of range in the middle of a list of 40 frames; it arrives all the same."""
    row = ordeal.row("radio: out of range in the middle of a list, at a frame by sample")
    for step in sorted(ordeal.random.sample(range(6, 60), 12)):
        if row.tries and ordeal.over():
            break
        air.mend("lock-3")
        air.idle("lock-3")
        air.trip("lock-3", step, "vanish")
        air.new_list(MIDDLE, seed=step)
        wait_for("it is out of range", lambda: air.tripped("lock-3")[1], 60)
        text = air.opens("lock-2")
        if text:
            row.violation(f"frame {step}: {text}")
        air.mend("lock-3")
        air.current("lock-3")
        air.judge_now(row, f"frame {step}")
        row.tried()
    air.judge(row, "out of range in a transfer")


# --- the daemon, the adapter, power ---------------------------------------------------------------------------

def restart(air):
    air.radio_control("restart 800")


def pull(air):
    hci = air.adapter("gw-1")
    air.radio_control(f"adapter remove {hci}")
    wait_for("the state says so", lambda: not air.recorder.state("gw-1")["radio"]["up"], 30)
    air.radio_control(f"adapter add {hci}")


def power(air):
    air.radio_control(f"power {air.adapter('gw-1')} off")


def losses(ordeal, air):
    """At a moment by seed while an unlock and a list are on their way."""
    kinds = [("radio: bluetoothd killed under traffic", restart), ("radio: the adapter is pulled and put back", pull),
             ("radio: somebody switches the adapter off", power)]
    for name, act in kinds:
        row = ordeal.row(name)
        for n in range(1 if ordeal.quick else 12):
            if row.tries and ordeal.over():
                break
            wait = ordeal.random.choice((0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)) * ordeal.random.uniform(0.5, 1.5)

            def between(wait=wait, act=act):
                time.sleep(wait)  # the fault's moment, not a wait for something
                act(air)
            what, before = f"{name}, try {n}, after {wait:.3f} s", air.counters()["radio-adapter-losses"]
            visit(air, "lock-1", row, what, SMALL, between)
            wait_for("it was noticed", lambda b=before: air.counters()["radio-adapter-losses"] > b, 60, every=0.1)
            wait_for("the radio is up", lambda: air.status()["state"]["radio"]["up"], 60, every=0.1)
            air.current("lock-1")
            air.judge_now(row, what)
            row.tried()
        air.judge(row, name)
        for lock in ("lock-1", "lock-2"):
            text = air.opens(lock)
            if text:
                row.violation(f"{name}: {text}")


# --- tables and words ----------------------------------------------------------------------------------------

def tables(ordeal, air):
    row = ordeal.row("radio: resolved, but the table is stale")
    hci = air.adapter("lock-1")
    for n in range(1 if ordeal.quick else 3):
        if row.tries and ordeal.over():
            return
        before = air.counters()["radio-stale-tables"]
        air.idle("lock-1")
        air.radio_control(f"stale {hci} on")
        cti = air.order("lock-1", seconds=40)
        wait_for("it is seen", lambda: air.counters()["radio-stale-tables"] > before, 60)
        air.radio_control(f"stale {hci} off")
        event = air.told(cti)
        text = went(air, cti, event) or air.opens("lock-1")
        if text:
            row.violation(f"try {n}: {text}")
        row.tried()
    air.judge(row, "stale table")


def words(ordeal, air):
    """A lock that answers badly, as lock-sim can: never a wrong outcome, and the log tells the truth."""
    row = ordeal.row("radio: a lock answers rubbish, half, nothing, too much, twice, another's receipt")
    faults = ["rubbish", "half", "nothing", "much", "foreign", "other", "twice"]
    for fault in ordeal.random.sample(faults, 2) if ordeal.quick else faults * 2:
        if row.tries and ordeal.over():
            break
        air.lock_control(f"lock-1 fault {fault}")
        try:
            visit(air, "lock-1", row, fault, SMALL)
        finally:
            air.lock_control("lock-1 fault none")
        air.current("lock-1")
        row.tried()
    air.judge(row, "bad answers")


def run(ordeal):
    parts = [losses, words, walks] if ordeal.quick else [losses, tables, words, transfers, walks]
    with Air(ordeal, LOCKS, lock_max=128 * 1024) as air:
        air.start()
        for part in parts:
            begun = time.monotonic()
            part(ordeal, air)
            ordeal.log(f"{part.__name__}: {time.monotonic() - begun:.0f} s")
