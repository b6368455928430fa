"""Kubernetes' own schema, nothing beside it allowed, for the oldest and the newest version that is supported."""

import json
import re

import kubernetes_validate

VERSIONS = ("1.30", "1.34")
# Kinds of others, whose schemas are not Kubernetes': what matters of them is checked by hand.
OTHERS = ("keda.sh/", "monitoring.coreos.com/")


# Objects that are valid, as text: most are the same in every overlay.
VALID = set()


def check(overlay):
    for thing in overlay.objects:
        written = json.dumps(thing)
        if thing["apiVersion"].startswith(OTHERS) or written in VALID:
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(thing, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                unexpected = re.findall(r"'([^']+)' w(?:as|ere) unexpected", error.message)
                overlay.problem(thing, (*names(thing, error.path), *unexpected[:1]), f"Kubernetes {version}: {error.message}")
                break
            except kubernetes_validate.InvalidSchemaError:
                overlay.problem(thing, ("apiVersion",), f"Kubernetes {version} knows no {thing['apiVersion']} {thing['kind']}")
                break
        else:
            VALID.add(written)


def names(thing, path):
    """With the names of items instead of their numbers, where they have one: patches order lists differently."""
    for step in path:
        try:
            thing = thing[step]
        except (KeyError, IndexError, TypeError):
            return
        yield thing["name"] if isinstance(step, int) and isinstance(thing, dict) and "name" in thing else step
