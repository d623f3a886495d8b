"""What people call the same thing or deed, so that words that differ can meet.

A lab has machines, boxes, nodes and PCs, and whoever wants one thing gone says delete, remove,
get rid of or throw away. Each group has a name; the name counts as one more word wherever one of
the group is said, in what describes a tool as in what is asked for. A small embedding model
knows few of these, least of all what homelabs mean by them.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache

GROUPS: Mapping[str, str] = {
    "delete": "delete, remove, erase, drop, wipe, forget, uninstall, trash, purge, discard, get rid,"
    " throw away, throw out, can go, take away, not needed, don t need, doesn t need,"
    " no longer need, isn t needed",
    "stop": "stop, halt, abort, cancel, kill, end, quit, break off, shut down, turn off, switch off,"
    " call off, shut off, take down, never mind",
    "start": "start, launch, run, trigger, execute, boot, fire, begin, kick off, bring up, turn on,"
    " switch on, fire up, set off, let go",
    "again": "restart, retry, redo, again, resume, continue, once more, another go, carry on, go on,"
    " pick up",
    "create": "create, make, new, add, build, setup, set up, put together, i want, i need",
    "change": "change, update, edit, modify, set, adjust, alter, give, switch back",
    "list": "list, which, all, what are, are there, do i have, do we have, show all, show me my,"
    " what do",
    "show": "show, tell, details, about, look, display, see, how is, what is, what s",
    "past": "did, was, last, yesterday, history, when did, so far, today, this week, lately",
    "schedule": "schedule, every, daily, hourly, weekly, monday, tuesday, wednesday, thursday,"
    " friday, saturday, sunday, cron, timer, weekend, weekends, noon, midnight",
    "machine": "machine, machines, node, nodes, box, boxes, computer, computers, pc, workstation,"
    " homeserver, laptop, server, host, nas",
    "workflow": "workflow, workflows, pipeline, pipelines, automation, automations, flow, flows",
    "agent": "agent, agents",
    "secret": "secret, secrets, token, tokens, password, passwords, vault, key, keys, credential,"
    " credentials, env",
    "webhook": "webhook, webhooks, hook, hooks, endpoint, endpoints, url, payload",
    "gpu": "gpu, gpus, vram, card, cards, graphics",
    "job": "job, jobs, queue, queued, background, worker, workers, task, tasks",
    "disk": "disk, disks, storage, space",
    "who": "who, whom, anybody, anyone, somebody, someone",
    "allowed": "allowed, may, permitted, permission, approval, approvals, confirm, confirmation,"
    " asking, grant, grants, trust",
    "pause": "pause, freeze, frozen, suspend, hold, emergency",
    "unpause": "unpause, unfreeze, resume",
    "service": "service, services, ollama, comfyui, sdwebui",
    "log": "log, logs, output, tail, complain, complaining, crash",
    "moderation": "moderation, moderate, ban, kick, mute, unban, warn, spam, spammer, spammers,"
    " timeout, automod, offence",
}


def concepts_of(words: list[str], stem: Callable[[str], str]) -> list[str]:
    """Return the groups that some stemmed words belong to, each as a word that nobody types.

    `stem` is what the words were made with: the groups are compared in the same form.
    """
    single, several = _by_form(stem)
    text = f" {' '.join(words)} "
    said = [group for word in words for group in single.get(word, ())]
    return said + [group for phrase, group in several if phrase in text]


@lru_cache(maxsize=4)
def _by_form(
    stem: Callable[[str], str],
) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """Return groups by single word, and every phrase of several words with its group."""
    single: dict[str, list[str]] = defaultdict(list)
    several: list[tuple[str, str]] = []
    for group, listed in GROUPS.items():
        for form in listed.split(", "):
            words = [stem(word) for word in form.split()]
            if len(words) > 1:
                several.append((f" {' '.join(words)} ", f"={group}"))
            elif f"={group}" not in single[words[0]]:
                single[words[0]].append(f"={group}")
    return dict(single), several
